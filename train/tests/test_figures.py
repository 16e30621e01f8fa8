import numpy as np
import pytest

from guardhouse.analysis.injection.calibrate import SCORES, curve_of, score_milli
from train.calibrate import Outcome, knots
from train.measure import at_points, auroc, false_positives, interval, line_at, recalls, share_above, summary


def outcomes(source: str, label: int, logits: list[int], band: int = 0) -> list[Outcome]:
    return [Outcome(source, label, band, logit) for logit in logits]


def test_auroc_counts_pairs_and_halves_ties() -> None:
    found = outcomes("a", 0, [0, 10]) + outcomes("b", 1, [10, 20])
    assert auroc(found) == pytest.approx((1 + 0.5 + 1 + 1) / 4)


def test_sources_weigh_the_same_however_many_texts_they_have() -> None:
    found = outcomes("small", 0, [100]) + outcomes("large", 0, [0] * 99) + outcomes("x", 1, [50])
    assert auroc(found) == pytest.approx(0.5)
    assert share_above([o for o in found if not o.label], 50) == pytest.approx(0.5)


def test_recall_stands_at_the_line_of_harmless_text() -> None:
    found = outcomes("a", 0, list(range(100))) + outcomes("b", 1, [50, 98, 200, 300])
    assert line_at(found, 0.01) == 99
    assert recalls(found) == {0.01: 0.5, 0.04: 0.75, 0.08: 0.75}


def test_the_interval_holds_the_figure_and_is_the_same_every_time() -> None:
    chance = np.random.default_rng(3)
    found = outcomes("a", 0, chance.normal(0, 1000, 200).astype(int).tolist())
    found += outcomes("b", 1, chance.normal(2000, 1000, 200).astype(int).tolist())
    said = summary(found, intervals=True)
    low, high = said["auroc_95"]
    assert low < said["auroc"] < high
    assert said == summary(found, intervals=True)
    assert set(said["recall_95"]) == {"1%", "4%", "8%"}
    assert interval(found, lambda *_: 1.0) == [1.0, 1.0]


def calibrated() -> list[Outcome]:
    chance = np.random.default_rng(5)
    found: list[Outcome] = []
    for source, middle in (("one", -3000), ("two", -2500)):
        for band in range(5):
            found += outcomes(source, 0, chance.normal(middle, 1000, 2_000).astype(int).tolist(), band)
    return found + outcomes("attacks", 1, chance.normal(3000, 1000, 2_000).astype(int).tolist())


def test_a_score_of_one_half_stands_at_four_per_cent_of_harmless_text() -> None:
    found = calibrated()
    curve = curve_of(knots(found, "user"))
    benign = [o for o in found if not o.label]
    for score, share in ((300, 0.08), (500, 0.04), (700, 0.01)):
        above = sum(score_milli(curve, o.band, o.logit) >= score for o in benign) / len(benign)
        assert above == pytest.approx(share, abs=0.005)


def test_every_band_has_eight_rising_knots() -> None:
    for channel, bands in (("user", 5), ("external", 4)):
        found = knots(outcomes("a", 0, [0] * 50) + outcomes("b", 1, [0] * 50), channel)
        assert len(found) == bands
        assert all(len(band) == len(SCORES) and band == sorted(set(band)) for band in found)
        assert all(band[-1] - band[-2] >= 1_000 for band in found)


def test_a_band_with_few_texts_leans_on_all() -> None:
    many = outcomes("a", 0, [0] * 5_000, band=0) + outcomes("b", 1, [9_000] * 10)
    few = knots(many + outcomes("a", 0, [4_000] * 5, band=1), "user")
    alone = knots(many + outcomes("a", 0, [4_000] * 50_000, band=1), "user")
    assert few[1][0] == pytest.approx(40, abs=1)  # (5 * 4000 + 500 * 0) / 505
    assert alone[1][0] > 3_900


def test_false_positives_are_judged_by_the_knots_of_other_sources() -> None:
    found = calibrated()
    own = false_positives(found, "user")
    assert set(own) == {"one", "two"}
    assert own["two"]["0.50"] > 0.06  # half a thousand above what the other source led to expect
    assert own["one"]["0.50"] < 0.03
    assert at_points(found, knots(found, "user"))["attacks attacks"]["0.50"] > 0.95
