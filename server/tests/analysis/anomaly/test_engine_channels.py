"""What the engine makes of values, metrics, sessions and windows, beside single lines."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from guardhouse.analysis.anomaly.burst_channel import BurstChannel
from guardhouse.analysis.anomaly.config import Config
from guardhouse.analysis.anomaly.engine import Engine
from guardhouse.analysis.anomaly.event import Event, Judgement, Segment
from guardhouse.analysis.anomaly.finding import Finding
from guardhouse.analysis.anomaly.metric_points import MetricPoint
from server.tests.analysis.anomaly import workflow
from server.tests.analysis.anomaly.streams import SECOND_US, events, log_lines, send, told, word_lines

MINUTE_US = 60 * SECOND_US
START = 1_767_225_600 * SECOND_US


def of_kind(findings: Sequence[Finding], kind: str) -> list[Finding]:
    return [one for one in findings if one.kind == kind]


def values(count: int, seed: int, first: int = 1) -> list[Event]:
    chance = random.Random(seed)
    return [
        Event(n, START + n * MINUTE_US, value=chance.gauss(50, 2), key="cpu")
        for n in range(first, first + count)
    ]


def test_a_spike_of_a_series_is_a_finding_and_scored() -> None:
    engine = Engine(7)
    send(engine, values(200, 1))
    stands = [(engine.state, engine.events_needed)]
    send(engine, values(300, 2, 201))
    stands.append((engine.state, engine.events_needed))
    assert stands == [("calibrating", 100), ("ready", 0)]
    spike = Event(501, START + 501 * MINUTE_US, value=500.0, key="cpu", entity="host-1")
    (result,) = send(engine, [spike])
    (finding,) = result.findings
    assert (finding.kind, finding.subject, finding.entity, finding.severity) == (
        "series",
        "cpu",
        "host-1",
        "critical",
    )
    assert finding.details["decided"] == "value"
    assert finding.details["value"] == 500.0
    assert finding.score_milli == int(result.score_milli[0])
    assert finding.surprise == int(result.surprise[0]) > 0


def test_metrics_become_series_and_a_gap_is_a_silence() -> None:
    engine = Engine(7)
    given = [
        Event(
            n,
            START + n * MINUTE_US,
            point=MetricPoint(
                "http.requests", "sum", START + n * MINUTE_US, START, monotonic=True, value=60.0 * n
            ),
        )
        for n in range(1, 400)
    ]
    assert not told(send(engine, given))
    late = START + 460 * MINUTE_US
    found = told(
        send(
            engine,
            [
                Event(
                    400,
                    late,
                    point=MetricPoint("http.requests", "sum", late, START, monotonic=True, value=27600.0),
                )
            ],
        )
    )
    silences = [one for one in found if one.details.get("field") == "silence"]
    assert [one.subject for one in silences] == ["http.requests.rate||sum"]
    assert engine.series.bank.silent(late + 6 * MINUTE_US)


def test_detect_judges_values_and_sessions_and_changes_nothing() -> None:
    engine = Engine(7)
    send(engine, values(400, 1))
    before = engine.to_bytes()
    result = engine.detect([Event(401, START + 401 * MINUTE_US, value=900.0, key="cpu")])
    assert [one.kind for one in result.findings] == ["series"]
    assert engine.to_bytes() == before


def settled(chance: random.Random) -> workflow.Steps:
    return tuple(step for step in workflow.usual(chance) if not 10 <= step <= 19)


def looping(chance: random.Random) -> workflow.Steps:
    return tuple(step for step in workflow.loop(chance) if not 10 <= step <= 19)


def whole(
    kind: Callable[[random.Random], workflow.Steps], count: int, seed: int, first: int = 1
) -> list[Event]:
    chance = random.Random(seed)
    return [Event(first + n, START + (first + n) * SECOND_US, symbols=kind(chance)) for n in range(count)]


def test_whole_sessions_are_judged_when_they_come() -> None:
    engine = Engine(7, Config(alert_p=0.005))
    send(engine, whole(settled, 49, 1))
    assert (engine.state, engine.events_needed) == ("calibrating", 1)
    send(engine, whole(settled, 1000, 2, 50))
    (result,) = send(engine, whole(looping, 5, 3, 1050))
    found = of_kind(result.findings, "session")
    assert len(found) >= 4
    assert found[0].families[0].name == "sequence.mean"
    assert found[0].details["dearest"]
    assert {"5 then 5"} <= {one.subject for one in found}
    assert (result.surprise > 0).all()
    assert (result.score_milli > 0).all()
    shape = found[0].template
    again = whole(looping, 5, 3, 1055)
    verdict = Judgement("false_positive", template=shape)
    quiet = engine.process(Segment(again, (verdict,)))
    assert shape not in {one.template for one in quiet.findings}


STEPS = ("open ticket", "read ticket", "reply sent", "close ticket")


def session_events(count: int, first: int = 1, *, skip: str = "") -> list[Event]:
    """Interleaved sessions of four steps; their lines carry numbers that the mask takes out."""
    made: list[Event] = []
    for number in range(count):
        for place, step in enumerate(STEPS):
            if step != skip:
                seq = first + len(made)
                at = START + (first + 4 * number + place) * SECOND_US
                made.append(
                    Event(seq, at, text=f"{step} {1000 + number}", key=f"s{first}-{number}", end=place == 3)
                )
    return made


def test_lines_with_a_session_key_are_judged_as_sessions_too() -> None:
    engine = Engine(7, Config(warmup_events=400))
    send(engine, session_events(600))
    broken = session_events(1, 10_001, skip="read ticket")
    found = of_kind(told(send(engine, broken)), "session")
    assert [one.subject for one in found] == ["open ticket # then reply sent #"]
    assert found[0].details["session"] == "s10001-0"
    assert ["read ticket #", 1] in found[0].details["missing"]
    assert (found[0].first_seq, found[0].last_seq) == (broken[0].seq, broken[-1].seq)


def test_a_burst_of_costs_is_told_as_a_window_unless_its_events_were() -> None:
    config = Config()
    draw = np.random.default_rng(3)
    totals = draw.gamma(20, 2000, 5000).astype(np.int64)
    totals[4503:4540:4] = 90_000
    totals[[400, 2100, 4000]] = 95_000
    given = events([""] * 5000)
    (burst, *more) = BurstChannel(7, config).observe_costs(given, totals, [], config, quiet=False)
    assert not [one for one in more if one.first_seq > 4600]
    assert (burst.kind, burst.subject, burst.quiet) == ("window", "burst", "")
    assert burst.first_seq <= 4540
    assert burst.last_seq >= 4504
    assert burst.time_us == burst.last_seq * SECOND_US
    assert burst.surprise >= config.alert_surprise
    assert burst.excess_milli > 0
    spoken = [replace(burst, kind="event", first_seq=4520)]
    rest = BurstChannel(7, config).observe_costs(given, totals, spoken, config, quiet=True)
    assert not [one for one in rest if one.first_seq <= 4520 <= one.last_seq]
    assert all(one.quiet == "recalibrating" for one in rest)


def test_the_original_rule_takes_the_place_of_single_lines() -> None:
    engine = Engine(7, Config(warmup_events=400, detector="ncd", permutations=199, p_value_threshold=0.01))
    send(engine, events(log_lines(700, 1)))
    strange = [" ".join(random.Random(n).sample("qwertyuiop", 8)) * 6 for n in range(40)]
    found = told(send(engine, events(strange + log_lines(20, 3), 701)))
    windows = of_kind(found, "window")
    assert windows
    assert {one.subject for one in windows} == {"distance"}
    assert not of_kind(found, "event")
    assert windows[0].details["permutations"] == 199


def test_a_slow_change_of_words_is_seen_by_the_sums_and_not_on_steady_words() -> None:
    engine = Engine(7)
    send(engine, events(word_lines(6000, 5)))
    before = engine.drift
    chance = random.Random(6)
    longer = [f"{line} {chance.choice(('alpha', 'omega'))} {line}" for line in word_lines(3000, 7)]
    alerts = [
        one for one in of_kind(told(send(engine, events(longer, 6001))), "drift") if one.subject == "costs"
    ]
    after = engine.drift
    assert len(alerts) <= 1
    assert (before.detected, after.detected) == (False, True)
    assert after.sampled > before.sampled > 1000


def test_a_flood_of_events_is_told_by_the_stream_s_own_series() -> None:
    engine = Engine(7)
    steady = [Event(n, START + n * 6 * SECOND_US, text=line) for n, line in enumerate(log_lines(4000, 1), 1)]
    assert not of_kind(told(send(engine, steady)), "series")
    at = steady[-1].time_us + MINUTE_US
    flood = [Event(4001 + n, at + n * 1000, text=line) for n, line in enumerate(log_lines(500, 2))]
    after = [Event(4501, at + 3 * MINUTE_US, text=log_lines(1)[0])]
    found = of_kind(told(send(engine, flood + after)), "series")
    assert [one.subject for one in found] == ["events per minute"]
    assert found[0].severity == "critical"


@pytest.mark.parametrize("cut", [120, 450, 900])
def test_a_restored_engine_goes_on_with_everything(cut: int) -> None:
    chance = random.Random(9)
    mixed: list[Event] = []
    for line in session_events(250):
        mixed.append(line)
        mixed.append(Event(0, line.time_us, value=chance.gauss(5, 1), key="load"))
    mixed += whole(workflow.usual, 60, 4)
    every = [
        Event(n, START + n * SECOND_US, one.text, None, one.value, one.symbols, one.entity, one.key, one.end)
        for n, one in enumerate(mixed, 1)
    ]
    one, other = Engine(7, Config(warmup_events=300)), Engine(7, Config(warmup_events=300))
    send(one, every[:cut])
    send(other, every[:cut])
    loaded = Engine.from_bytes(other.to_bytes())
    assert loaded.to_bytes() == other.to_bytes()
    wanted, got = send(one, every[cut:]), send(loaded, every[cut:])
    assert [result.findings for result in got] == [result.findings for result in wanted]
    assert loaded.to_bytes() == one.to_bytes()


def test_other_sizes_of_windows_begin_anew_and_other_thresholds_do_not() -> None:
    engine = Engine(7, Config(warmup_events=400))
    send(engine, events(log_lines(900, 1)))
    held = engine.bursts.windows
    engine.process(Segment(events(log_lines(10, 2), 901), config=Config(warmup_events=400, alert_p=0.01)))
    assert engine.bursts.windows is held
    engine.process(Segment(events(log_lines(10, 2), 911), config=Config(warmup_events=400, window_size=20)))
    assert engine.bursts.windows.size == 20
