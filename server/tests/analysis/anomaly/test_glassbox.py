import hashlib
import math
import random
from collections import Counter

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.analysis.anomaly.glassbox import (
    Compressor,
    Sample,
    block_rank,
    entropy,
    figures,
    look_deeper,
    ncd,
    ncd_balanced,
    permutation_test,
    seed_of,
    sequential_p,
    take_sample,
)
from guardhouse.analysis.anomaly.ncd_rule import NcdRule, NcdSettings, severity_of

MASK = (1 << 64) - 1
EVENTS = st.lists(st.binary(max_size=30), max_size=40)


def lines(count: int, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    return [b"GET /item/%d from host-%d" % (chance.randrange(40), chance.randrange(9)) for _ in range(count)]


def alien(count: int, seed: int) -> list[bytes]:
    return [random.Random(seed + n).randbytes(40) for n in range(count)]


def plain_length(events: list[bytes]) -> int:
    joined = b"\n".join(events)
    made = zstandard.ZstdCompressor(level=3, write_content_size=False, write_checksum=False)
    return len(made.compress(joined)) if joined else 0


def plain_split_mix(seed: int, t: int) -> int:
    z = (seed + (t + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_figures_are_those_of_the_formulas() -> None:
    sample = Sample(tuple(lines(60, 1)), tuple(alien(20, 2)), shrunk=False)
    found = figures(sample, Compressor())
    b, w = list(sample.baseline), list(sample.window)
    c_b, c_w, c_bw = plain_length(b), plain_length(w), plain_length(b + w)
    assert (found.c_baseline, found.c_window, found.c_combined) == (c_b, c_w, c_bw)
    assert found.ncd == round(min(1, (c_bw - min(c_b, c_w)) / max(c_b, c_w)), 6)
    assert found.ratio_window == round(len(b"\n".join(w)) / c_w, 6)
    joined = b"\n".join(w)
    shares = [count / len(joined) for count in Counter(joined).values()]
    assert found.entropy_window == pytest.approx(-sum(p * math.log2(p) for p in shares), abs=1e-5)
    assert found.ratio_change == pytest.approx(
        (found.ratio_window - found.ratio_baseline) / found.ratio_baseline, abs=1e-5
    )
    assert found.entropy_change == pytest.approx(
        (found.entropy_window - found.entropy_baseline) / found.entropy_baseline, abs=1e-5
    )


def test_nothing_is_compressed_to_nothing() -> None:
    empty = Sample((b"",), (b"",), shrunk=False)
    assert Compressor().length([]) == 0
    assert Compressor().length([b""]) == 0
    assert figures(empty, Compressor()).ncd <= 1
    assert entropy([]) == 0
    assert entropy([b"aaaa"]) == 0
    assert ncd(0, 0, 0) == 0


@given(EVENTS, EVENTS)
def test_the_distance_is_between_0_and_1(baseline: list[bytes], window: list[bytes]) -> None:
    assert 0 <= Compressor().distance(baseline, window) <= 1


def test_a_short_history_shrinks_both_parts_and_a_very_short_one_has_no_glass_box() -> None:
    whole = take_sample(lines(600, 1), 100, 50)
    assert whole is not None
    assert (len(whole.baseline), len(whole.window), whole.shrunk) == (100, 50, False)
    assert whole.window == tuple(lines(600, 1)[-50:])
    short = take_sample(lines(60, 1), 100, 50)
    assert short is not None
    assert (len(short.baseline), len(short.window), short.shrunk) == (40, 20, True)
    tiny = take_sample(lines(20, 1), 400, 4)
    assert tiny is not None
    assert len(tiny.window) == 1
    assert take_sample(lines(19, 1), 100, 50) is None


def test_the_seed_is_of_the_stream_and_the_place() -> None:
    told = (7).to_bytes(8, "big") + (100).to_bytes(8, "big") + (149).to_bytes(8, "big")
    assert seed_of(7, 100, 149) == int.from_bytes(hashlib.sha256(told).digest()[:8], "big")


def test_the_permutation_test_can_be_done_by_hand() -> None:
    sample = Sample(tuple(lines(20, 3)), tuple(lines(6, 4)), shrunk=False)
    seed, pool, count = 99, [*sample.baseline, *sample.window], 60

    def distance(events: list[bytes]) -> float:
        b, w, bw = plain_length(events[:20]), plain_length(events[20:]), plain_length(events)
        return min(1, max(0, (bw - min(b, w)) / max(b, w)))

    reached = 0
    for j in range(count):
        keys = [plain_split_mix(seed, j * len(pool) + i) for i in range(len(pool))]
        mixed = [pool[i] for i in sorted(range(len(pool)), key=keys.__getitem__)]
        reached += distance(mixed) >= distance(pool)
    found = permutation_test(sample, seed, count, Compressor(), stop=count + 1)
    assert (found.exceedances, found.drawn) == (reached, count)
    assert found.p == (1 + reached) / (1 + count)


def test_an_alien_window_has_the_smallest_p_and_never_0() -> None:
    sample = Sample(tuple(lines(80, 3)), tuple(alien(20, 1)), shrunk=False)
    found = permutation_test(sample, 5, 99, Compressor())
    assert found.p == 0.01
    assert not found.stopped_early


def test_equal_events_stop_early_with_p_1() -> None:
    sample = Sample((b"same",) * 50, (b"same",) * 20, shrunk=False)
    found = permutation_test(sample, 5, 999, Compressor())
    assert (found.p, found.drawn, found.stopped_early) == (1.0, 10, True)


def test_p_of_exchangeable_events_is_calibrated() -> None:
    compressor, small, runs = Compressor(), 0, 200
    for run in range(runs):
        events = lines(30, 1000 + run)
        found = permutation_test(
            Sample(tuple(events[:20]), tuple(events[20:]), shrunk=False), run, 99, compressor
        )
        small += found.p <= 0.1
    assert small / runs <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / runs)


def test_stopping_early_agrees_with_the_full_test() -> None:
    chance, agreed, runs = random.Random(17), 0, 3000
    for run in range(runs):
        true_p = chance.random() if run % 2 else chance.random() / 100  # chance alone, and anomalies
        draws = [chance.random() < true_p for _ in range(999)]
        early, full = sequential_p(draws, 10), sequential_p(draws, 1000)
        agreed += (early.p <= 0.05) == (full.p <= 0.05)
        assert early.p > 0
    assert agreed / runs >= 0.99


def test_no_draws_and_no_exceedances() -> None:
    assert sequential_p([]).p == 1
    assert sequential_p([True] * 3, 10).p == 1
    assert sequential_p([False] * 999).p == 0.001


def test_the_balanced_distance_compares_equal_sizes() -> None:
    alike = Sample(tuple(lines(400, 1)), tuple(lines(50, 2)), shrunk=False)
    other = Sample(tuple(lines(400, 1)), tuple(alien(50, 2)), shrunk=False)
    plain = Compressor()
    assert ncd_balanced(alike, 1, plain) < plain.distance(alike.baseline, alike.window)
    assert ncd_balanced(other, 1, plain) > ncd_balanced(alike, 1, plain)
    few = Sample(tuple(lines(12, 1)), tuple(lines(10, 2)), shrunk=False)
    by_hand = sorted(plain.distance(few.baseline[n : n + 10], few.window) for n in range(3))
    assert ncd_balanced(few, 1, plain) == round(by_hand[1], 6)
    swapped = Sample(few.window[:4], few.baseline, shrunk=False)
    assert ncd_balanced(swapped, 1, plain) == round(plain.distance(few.window[:4], few.baseline), 6)


def test_a_burst_is_ranked_among_bursts() -> None:
    usual, burst = lines(80, 1), [b"retry of job 17"] * 20
    bursts = Sample(tuple(usual[:40] + [b"retry of job 16"] * 20 + usual[40:]), tuple(burst), shrunk=False)
    rank, of = block_rank(bursts, Compressor())
    assert of == 6
    assert rank > 1
    strange = Sample(tuple(lines(100, 1)), tuple(alien(20, 3)), shrunk=False)
    assert block_rank(strange, Compressor()) == (1, 6)
    assert block_rank(Sample(tuple(usual[:10]), tuple(burst), shrunk=False), Compressor()) == (1, 1)


def test_looking_deeper_is_repeatable() -> None:
    sample = Sample(tuple(lines(40, 1)), tuple(lines(20, 2)), shrunk=False)
    assert look_deeper(sample, 11, 99) == look_deeper(sample, 11, 99)


SETTINGS = NcdSettings(baseline=40, window=20, hop=10, p_threshold=0.01, permutations=199)


def test_the_original_rule_finds_a_burst_of_strange_events_and_no_other() -> None:
    events = lines(200, 1) + alien(20, 2) + lines(60, 3)
    windows = list(NcdRule(1, SETTINGS).observe(events, range(1, len(events) + 1)))
    assert [window.last_seq for window in windows[:2]] == [60, 70]
    assert all(window.last_seq - window.first_seq == 19 for window in windows)
    told = [window for window in windows if window.anomalous]
    assert any(window.last_seq == 220 for window in told)
    assert all(210 <= window.last_seq <= 280 for window in told)
    assert next(window for window in told if window.last_seq == 220).severity in ("critical", "high")


def test_the_test_runs_only_where_the_distance_can_decide() -> None:
    blind = NcdSettings(baseline=40, window=20, hop=10, ncd_threshold=1.0)
    assert all(window.permutations is None for window in NcdRule(1, blind).observe(lines(100, 1), range(100)))


def test_severities_of_the_original_rule() -> None:
    told = [
        severity_of(0.6, 0.0005),
        severity_of(0.4, 0.0005),
        severity_of(0.2, 0.0005),
        severity_of(0.9, 0.05),
    ]
    assert told == ["critical", "high", "medium", "low"]


def test_a_saved_rule_goes_on_as_if_nothing_had_been() -> None:
    events = lines(75, 1) + alien(30, 2)
    whole = list(NcdRule(1, SETTINGS).observe(events, range(1, len(events) + 1)))
    rule = NcdRule(1, SETTINGS)
    parts = list(rule.observe(events[:63], range(1, 64)))
    loaded = NcdRule.from_state(rule.to_state(), 1, SETTINGS)
    assert parts + list(loaded.observe(events[63:], range(64, len(events) + 1))) == whole
