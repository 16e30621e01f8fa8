"""The engine of texts and records: policy, determinism, calibration, state."""

import json

import numpy as np
import pytest

from guardhouse.analysis.anomaly.config import Config
from guardhouse.analysis.anomaly.engine import Engine
from guardhouse.analysis.anomaly.event import Event, Judgement, Segment
from guardhouse.analysis.anomaly.explain import nearest_normal, sentence
from guardhouse.analysis.anomaly.fitting import Learned
from guardhouse.analysis.anomaly.line_model import fingerprint
from guardhouse.analysis.anomaly.normalise import to_lines
from guardhouse.analysis.anomaly.snapshot import BadSnapshotError
from guardhouse.analysis.anomaly.tail import surprise_of
from server.tests.analysis.anomaly.streams import events, log_lines, ready_engine, send, told, word_lines


def learned(engine: Engine) -> Learned:
    assert engine.lines.learned is not None
    return engine.lines.learned


def state_of(engine: Engine) -> str:
    return engine.state


ODD = "segfault at 0x7ffe in /etc/../shadow by ;DROP TABLE users"


def test_nothing_is_told_while_calibrating() -> None:
    engine = Engine(1)
    results = send(engine, events([*log_lines(300), ODD]))
    assert not told(results)
    assert {one.state for one in results} == {"calibrating"}
    assert engine.events_needed == 99
    assert engine.detect(events([ODD], 302)).surprise.tolist() == [-1]
    (last,) = send(engine, events(log_lines(150, 2), 302))
    assert [change.what for change in last.changes] == ["ready"]
    assert last.state == "ready"
    assert (last.surprise[:99] == -1).all()
    assert (last.surprise[99:] >= 0).all()


def test_what_does_not_belong_in_the_warm_up_is_set_aside_and_found_later() -> None:
    clean = log_lines(1200)
    odd = [f"{ODD} {words}" for words in word_lines(1200, 8)]
    dirty = [odd[n] if n % 20 == 7 else line for n, line in enumerate(clean)]
    engine = ready_engine(dirty)
    assert [one.seq for one in engine.lines.outliers] == [n + 1 for n in range(1200) if n % 20 == 7]
    findings = told(send(engine, events([*log_lines(50, 3), odd[0], *log_lines(50, 4)], 1201)))
    assert [finding.first_seq for finding in findings] == [1251]


def test_an_odd_line_is_a_candidate_with_its_numbers() -> None:
    engine = ready_engine(log_lines(1000))
    (finding,) = told(send(engine, events([*log_lines(60, 2), ODD], 1001)))
    assert (finding.kind, finding.first_seq) == ("event", 1061)
    assert finding.surprise >= surprise_of(0.001)
    assert finding.excess_milli > 0
    assert [family.name for family in finding.families] == ["text.total", "text.maxrun"]
    assert finding.anchor_surprise is not None
    assert finding.anchor_surprise >= surprise_of(0.001)
    assert finding.template == fingerprint(learned(engine).reader.masker.lines(to_lines([ODD]))[0])


def test_new_words_are_no_news_where_all_is_new() -> None:
    engine = ready_engine(word_lines(1000))
    later = np.concatenate([one.surprise for one in send(engine, events(word_lines(4000, 2), 1001))])
    for alpha in (0.1, 0.05, 0.01):
        assert float(np.mean(later >= surprise_of(alpha))) <= alpha * 1.5 + 0.003
    assert float(np.mean(later >= surprise_of(0.001))) <= 0.004


def test_equal_segments_give_equal_bytes_and_results() -> None:
    texts = log_lines(1500) + [ODD] * 3 + word_lines(200)
    engines = [Engine(5), Engine(5)]
    first, second = (send(engine, events(texts)) for engine in engines)
    for one, other in zip(first, second, strict=True):
        assert one.surprise.tolist() == other.surprise.tolist()
        assert one.findings == other.findings
    assert engines[0].to_bytes() == engines[1].to_bytes()


@pytest.mark.parametrize("cut", [1, 250, 399, 400, 401, 707, 1203])
def test_a_restored_engine_goes_on_as_before(cut: int) -> None:
    given = events(log_lines(1200) + word_lines(100) + log_lines(300, 2))
    whole, begun = Engine(5), Engine(5)
    send(whole, given[:cut])
    send(begun, given[:cut])
    raw = begun.to_bytes()
    again = Engine.from_bytes(raw)
    assert again.to_bytes() == raw
    one, other = send(whole, given[cut:]), send(again, given[cut:])
    assert told(one) == told(other)
    assert whole.to_bytes() == again.to_bytes()


def test_detect_leaves_the_state_as_it_is() -> None:
    engine = ready_engine(log_lines(1200))
    send(engine, events(log_lines(13, 2), 1201))
    before = engine.to_bytes()
    found = engine.detect(events([ODD, *log_lines(5, 3)], 1214))
    assert [finding.first_seq for finding in found.findings] == [1214]
    assert ODD.encode() not in b"".join(learned(engine).model.lines)
    assert engine.to_bytes() == before


def test_scores_do_not_depend_on_how_requests_are_cut() -> None:
    given = events(log_lines(1500) + word_lines(3))
    small, large = Engine(5), Engine(5)
    few = np.concatenate([one.surprise for one in send(small, given, 37)])
    many = np.concatenate([one.surprise for one in send(large, given, 1000)])
    assert few.tolist() == many.tolist()


def test_a_damaged_or_foreign_state_is_refused() -> None:
    raw = bytearray(ready_engine(log_lines(100)).to_bytes())
    raw[100] ^= 1
    with pytest.raises(BadSnapshotError):
        Engine.from_bytes(bytes(raw))


def test_a_confirmed_template_always_tells_and_an_allowed_one_never() -> None:
    engine = ready_engine(log_lines(1200))
    usual = log_lines(1, 9)[0]
    template = fingerprint(learned(engine).reader.masker.lines([usual.encode()])[0])
    confirm = Judgement("confirmed", template, seqs=(3,))
    found = engine.process(Segment(events([usual], 1201), (confirm,)))
    assert [(one.pinned, one.severity) for one in found.findings] == [(True, "high")]
    assert engine.spend(found.findings[0])
    found = engine.process(Segment(events([usual], 1202), (Judgement("unpin", template),)))
    assert not found.findings
    (odd,) = engine.process(Segment(events([ODD], 1203))).findings
    line = learned(engine).reader.masker.lines([ODD.encode()])[0]
    allow = Judgement("false_positive", odd.template, line)
    assert not engine.process(Segment(events([ODD], 1204), (allow,))).findings
    assert not told(send(engine, events([*log_lines(300, 5), ODD], 1205)))


def test_an_allowance_for_one_entity_is_for_it_alone() -> None:
    engine = ready_engine(log_lines(1200))
    (odd,) = engine.detect(events([ODD], 1201)).findings
    allow = Judgement("false_positive", odd.template, b"", entity="host-1")
    given = [Event(1201 + n, 1201 + n, text=ODD, entity=f"host-{n}") for n in range(3)]
    assert [one.entity for one in engine.process(Segment(given, (allow,))).findings] == ["host-0", "host-2"]


def test_a_returning_line_is_released_from_quarantine() -> None:
    engine = ready_engine(log_lines(1000))
    given = []
    for n in range(8):
        given += [*log_lines(60, 10 + n), "new kind of line from a deploy"]
    findings = told(send(engine, events(given, 1001)))
    assert 1 <= len(findings) < 8
    assert not told(send(engine, events(["new kind of line from a deploy"], 2001)))


def test_a_change_of_regime_is_told_once_and_learned() -> None:
    engine = ready_engine(log_lines(500))
    results = send(engine, events(word_lines(1500, 3), 501), 50)
    drifts = [finding for finding in told(results) if finding.kind == "drift"]
    assert len(drifts) == 1
    changed = drifts[0].last_seq
    quiet = [one for one in told(results) if one.kind == "event" and changed < one.first_seq <= changed + 200]
    assert all(one.quiet == "recalibrating" for one in quiet)
    assert state_of(engine) == "ready"
    late = [one for one in told(results) if one.first_seq > 1500 and not one.quiet]
    assert len(late) <= 5


def test_a_held_regime_is_learned_when_accepted() -> None:
    engine = ready_engine(log_lines(500), on_regime_change="hold")
    results = send(engine, events(word_lines(1000, 3), 501), 50)
    assert len([one for one in told(results) if one.kind == "drift"]) == 1
    assert state_of(engine) == "recalibrating"
    known = len(learned(engine).model.known)
    send(engine, events(word_lines(200, 4), 1501), 50)
    assert len(learned(engine).model.known) == known
    engine.process(Segment(events(word_lines(50, 5), 1701), (Judgement("accept"),)))
    send(engine, events(word_lines(800, 6), 1751), 50)
    assert state_of(engine) == "ready"
    assert len(learned(engine).model.known) > known


def test_a_burst_is_an_attack_and_not_a_new_regime() -> None:
    engine = ready_engine(log_lines(1200))
    burst = [f"{ODD} {word}" for word in word_lines(100, 8)]
    findings = told(send(engine, events(burst, 1201), 50))
    assert len({one.first_seq for one in findings if one.kind == "event" and not one.quiet}) >= 95


def test_records_are_found_by_words_and_by_numbers() -> None:
    normal = [
        {"user": f"user_{n}", "amount": 10.0 + n * 7919 % 90, "shop": "abcd"[n % 4]} for n in range(2500)
    ]
    odd = [
        {"user": "user_1", "amount": 125_000.0, "shop": "a"},
        {"user": "u", "amount": 50.0, "shop": "Offshore!"},
    ]
    given = [Event(n, n, body=body) for n, body in enumerate([*normal, *odd], start=1)]
    findings = told(send(Engine(1), given))
    assert [(one.kind, one.first_seq) for one in findings] == [("record", 2501), ("record", 2502)]
    assert max(findings[0].families, key=lambda one: one.surprise).name == "field:amount"


def test_a_new_mask_recalibrates_and_a_new_threshold_does_not() -> None:
    engine = ready_engine(log_lines(100))
    engine.process(Segment(events(log_lines(10, 2), 101), config=Config(warmup_events=100, alert_p=0.01)))
    assert state_of(engine) == "ready"
    engine.process(
        Segment(events(log_lines(10, 2), 111), config=Config(warmup_events=100, alert_p=0.01, mask="none"))
    )
    assert state_of(engine) == "calibrating"


def test_the_dictionary_coder_finds_too() -> None:
    engine = ready_engine(word_lines(800), coder="zstd")
    (finding,) = told(send(engine, events([*word_lines(30, 2), ODD * 2], 801)))
    assert finding.first_seq == 831
    assert [family.name for family in finding.families] == ["text.total"]
    again = Engine.from_bytes(engine.to_bytes())
    assert (
        again.detect(events([ODD], 832)).milli_bits.tolist()
        == engine.detect(events([ODD], 832)).milli_bits.tolist()
    )


def test_the_anchor_stays_when_the_model_learns() -> None:
    engine = ready_engine(log_lines(500))
    anchored = learned(engine).anchor.scores([b"worker # is new"]).tolist()
    send(engine, events(["worker 5 is new"] * 600, 501))
    assert learned(engine).anchor.scores([b"worker # is new"]).tolist() == anchored
    engine.process(Segment(events(log_lines(1), 1101), (Judgement("anchor"),)))
    assert learned(engine).anchor.version == 2
    assert learned(engine).anchor.scores([b"worker # is new"])[0, 0] < anchored[0][0]


def test_the_heat_map_names_the_odd_stretch() -> None:
    engine = ready_engine(log_lines(1000))
    usual = log_lines(1, 5)[0]
    event = Event(1001, 0, text=usual.replace("queue", "/etc/../shadow"))
    explanation = engine.explain(event)
    assert explanation.milli_bits.size == len(explanation.masked.encode()) + 1
    assert explanation.total_milli == int(engine.detect([event]).milli_bits[0])
    assert "/etc/../shadow" in explanation.spans[0].text
    nearest = nearest_normal(explanation.masked, engine.known_lines())
    assert nearest is not None
    assert "queue" in nearest.missing
    said = sentence("auth", explanation, 6_700_000, nearest)
    assert said.startswith("`auth` wrote a line ")
    assert "chance 2 in 10 million" in said
    assert nearest.line in said


def test_a_record_is_explained_by_its_parts() -> None:
    bodies = [{"shop": "abc"[n % 3], "kind": "sale"} for n in range(200)]
    engine = Engine(1, Config(warmup_events=200))
    send(engine, [Event(n, n, body=body) for n, body in enumerate(bodies, start=1)])
    parts = engine.explain(Event(201, 0, body={"shop": "Offshore", "kind": "sale"})).parts
    assert [part.path for part in parts] == ["kind", "shop"]
    assert parts[1].milli_bits > 5 * parts[0].milli_bits


def test_a_fitted_engine_is_ready_at_once() -> None:
    fit, calibration = events(word_lines(800)), events(word_lines(800, 2), 801)
    engine = Engine.fitted(1, Config(), fit, calibration)
    assert engine.state == "ready"
    usual = engine.detect(events(word_lines(2000, 3), 1601)).surprise
    assert float(np.mean(usual >= surprise_of(0.01))) <= 0.02
    assert float(np.mean(usual >= surprise_of(0.5))) >= 0.1
    assert engine.detect(events([ODD], 3601)).findings


def test_hostile_events_are_taken() -> None:
    engine = ready_engine(log_lines(100))
    odd: list[object] = [{}, {"a": [[[]]]}, {"x": "\ud800\x00"}, {"n": 2**70}, {"é|=": None}, {"a": {"": ""}}]
    given = [Event(101 + n, 0, body=body) for n, body in enumerate(odd)]  # type: ignore[arg-type] # that is the test
    given += events(["", "\x00", "\ud800", "x" * 100_000, "\n\n", "\x1e\x1e"], 120)
    results = engine.process(Segment(given))
    assert (results.surprise >= 0).all()
    assert Engine.from_bytes(engine.to_bytes()).to_bytes() == engine.to_bytes()
    json.dumps([{**finding.details, "p": finding.p} for finding in results.findings])
