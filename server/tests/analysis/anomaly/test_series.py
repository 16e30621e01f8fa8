import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardhouse.analysis.anomaly.level_context import LevelContext
from guardhouse.analysis.anomaly.packing import Packer, Unpacker
from guardhouse.analysis.anomaly.recent_values import RecentValues
from guardhouse.analysis.anomaly.season import DAY_US, Season, seasons_of
from guardhouse.analysis.anomaly.series import LATE, WARM_UP, Point, Series
from guardhouse.analysis.anomaly.series_bank import EventRate, SeriesBank, severity_of

MINUTE = 60_000_000
START = 1_767_225_600_000_000


def daily(count: int, seed: int, step_us: int = 5 * MINUTE) -> list[tuple[int, float]]:
    chance = random.Random(seed)
    return [
        (START + n * step_us, 50 + 10 * math.sin(2 * math.pi * n * step_us / DAY_US) + chance.gauss(0, 1))
        for n in range(count)
    ]


def scores(series: Series, points: list[tuple[int, float]]) -> list[Point]:
    return [series.observe(at, value) for at, value in points]


class Plain:
    """The formulas as they are written down, with everything kept and nothing clever."""

    def __init__(self) -> None:
        self.points: list[tuple[int, float]] = []
        self.ranges: dict[str, list[float]] = {}
        self.seen: set[tuple[int, ...]] = set()
        self.levels: list[int] = []

    def outside(self, name: str, value: float) -> float:
        earlier = self.ranges.setdefault(name, [])
        r = 0.0
        if earlier:
            lo, hi = min(earlier), max(earlier)
            scale = (
                max(abs(min(self.ranges["value"])), abs(max(self.ranges["value"])))
                if self.ranges["value"]
                else 0
            )
            e = max(lo - value, value - hi, 0) / max(hi - lo, 1e-9, 1e-9 * scale)
            r = e / (e + 0.05)
        earlier.append(value)
        return r

    def observe(self, at: int, value: float) -> int:
        r2 = r3 = r4 = 0.0
        values = [*(one for _, one in self.points), value]
        if len(values) >= 20:
            r2 = self.outside("mean", statistics.fmean(values[-20:]))
        if len(values) >= 30:
            r3 = self.outside("deviation", statistics.stdev(values[-30:]))
        day_ago = dict(self.points).get(at - DAY_US)
        if day_ago is not None:
            r4 = self.outside("season", value - day_ago)
            if at < self.points[0][0] + 2 * DAY_US:
                r4 = 0.0
        r1 = self.outside("value", value)
        self.points.append((at, value))
        if len(self.points) <= WARM_UP:
            if len(self.points) == WARM_UP:
                for number, one in enumerate(values):
                    self.novelty(one, number)
            return 0
        c = self.novelty(value, len(values) - 1)
        d = max(1 - (1 - r1) * (1 - 0.6 * r2) * (1 - 0.5 * r3) * (1 - 0.4 * r4), 0.6 * c)
        return int(1000 * d)

    def novelty(self, value: float, number: int) -> float:
        warm = [one for _, one in self.points[:WARM_UP]]
        lo, width = min(warm), max(max(warm) - min(warm), 1e-9)
        self.levels.append(min(24, max(-1, math.floor((value - lo + 0.25 * width) / width * 16))))
        new = 0.0
        for order in range(min(number, 3) + 1):
            pair = (order, *self.levels[number - order : number + 1])
            new += (pair not in self.seen) / (1 + order)
            self.seen.add(pair)
        return new / (1 + 1 / 2 + 1 / 3 + 1 / 4)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_scores_are_those_of_the_written_formulas(seed: int) -> None:
    points = daily(1500, seed, 10 * MINUTE)
    chance = random.Random(seed + 100)
    for at in chance.sample(range(400, 1500), 5):
        points[at] = (points[at][0], points[at][1] + chance.choice((-60, 25, 40)))
    series, plain = Series(), Plain()
    found = scores(series, points)  # ten days: the season of a week takes no part yet
    mine = [ungated(point) for point in found]
    wanted = [plain.observe(*point) for point in points]
    # Pairs of four levels share bits, so now and then one counts as known: .6 x (1/4) / (25/12) less.
    assert all(-1 <= other - one <= 73 for one, other in zip(mine, wanted, strict=True))
    assert sum(abs(other - one) > 1 for one, other in zip(mine, wanted, strict=True)) <= 20
    assert [point.score for point in found] == gated(mine)
    assert max(mine) > 500


def ungated(point: Point) -> int:
    if point.why is None:
        return 0
    value, mean, deviation, season, context, _, _ = point.why
    d = 1 - (1 - value) * (1 - 0.6 * mean) * (1 - 0.5 * deviation) * (1 - 0.4 * season)
    return int(1000 * max(d, 0.6 * context))


def gated(raw: list[int]) -> list[int]:
    out: list[int] = []
    for number, one in enumerate(raw):
        recent = [score for score in out[max(0, number - 100) :] if score]
        out.append(one if one and one > 1.02 * (recent[-1] if recent else 0) else 0)
    return out


def test_nothing_is_told_of_the_first_300_points() -> None:
    points = [(START + n * MINUTE, float(n % 7)) for n in range(WARM_UP)]
    points[150] = (points[150][0], 1e9)
    assert {point.score for point in scores(Series(), points)} == {0}


def test_a_spike_and_a_level_shift_are_one_finding_each() -> None:
    points = daily(1200, 5)
    points[700] = (points[700][0], 200.0)
    points[1000:] = [(at, value + 400) for at, value in points[1000:]]
    told = [n for n, point in enumerate(scores(Series(), points)) if point.score >= 600]
    assert [n for n in told if n >= 600] == [700, 1000]


def test_a_constant_series_that_moves_is_critical_and_rounding_is_not_a_move() -> None:
    series = Series()
    points = [(START + n * MINUTE, 1e9 + 0.1) for n in range(1000)]
    assert {point.score for point in scores(series, points)} == {0}
    found = series.observe(START + 1001 * MINUTE, 2e9)
    assert severity_of(found.score) == "critical"
    assert found.why is not None
    assert found.why.decided == "value"
    assert (found.why.lo, found.why.hi) == (1e9 + 0.1, 1e9 + 0.1)


def test_a_course_never_taken_is_new_though_every_value_is_usual() -> None:
    points = [(START + n * MINUTE, float(n % 10)) for n in range(600)]
    points += [(START + n * MINUTE, float(9 - n % 10)) for n in range(600, 640)]
    found = scores(Series(), points)
    told = [point for point in found[600:] if point.score]
    assert not any(point.score for point in found[:600])
    assert told
    assert told[0].why is not None
    assert told[0].why.context > 0.5
    assert told[0].why.value == 0


def test_a_missing_day_is_seen_by_the_season() -> None:
    points = [(START + n * 5 * MINUTE, 100.0 * (n % 288 >= 144)) for n in range(288 * 8)]
    quiet = scores(Series(), points)
    assert not any(point.score for point in quiet)
    flat = points[: 288 * 7] + [(at, 0.0) for at, _ in points[288 * 7 :]]
    found = [point.why for point in scores(Series(), flat)[288 * 7 :] if point.why is not None]
    assert any(why.season > 0 for why in found)


def test_a_gap_is_silence_and_shifts_no_phase() -> None:
    wave = [(START + n * 5 * MINUTE, 100.0 * (n % 288 >= 144)) for n in range(288 * 8)]
    holed = wave[: 288 * 6] + wave[288 * 6 + 36 :]
    found = scores(Series(), holed)
    silences = [(n, point.silence_milli) for n, point in enumerate(found) if point.silence_milli]
    assert silences == [(288 * 6, 1000 - 1000 * 5 // 37)]
    assert not any(point.score for point in found[288 * 6 + 40 :])


def test_silences_in_a_row_are_told_once_unless_one_is_longer() -> None:
    series = Series()
    scores(series, [(START + n * MINUTE, 1.0) for n in range(400)])
    at = START + 399 * MINUTE
    told = []
    for gap in (10, 10, 11, 10, 40, 10):
        at += gap * MINUTE
        told.append(series.observe(at, 1.0).silence_milli)
    assert [bool(milli) for milli in told] == [True, False, False, False, True, False]
    assert series.silences == 2
    assert series.silent_from_us == at + 5 * MINUTE


def test_an_older_point_is_late_and_changes_nothing() -> None:
    points = daily(700, 9)
    one, other = Series(), Series()
    scores(one, points)
    scores(other, points[:650])
    assert other.observe(points[100][0], 1e6).score == LATE
    scores(other, points[650:])
    assert packed(one) == packed(other)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Series().observe(START, value)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1e308, 1e308, allow_nan=False), min_size=301, max_size=400), st.integers(0, 10**9))
def test_any_finite_values_give_scores_in_range(values: list[float], step_us: int) -> None:
    series = Series()
    for number, value in enumerate(values):
        point = series.observe(START + number * step_us, value)
        assert 0 <= point.score <= 1000
        assert 0 <= point.at_least <= point.among or not point.score


def packed(series: Series) -> dict[str, bytes]:
    packer = Packer()
    series.pack(packer)
    return {name: array.tobytes() for name, array in packer.to_state().items()}


@pytest.mark.parametrize("cut", [1, 150, 199, 200, 299, 300, 301, 700, 900])
def test_a_saved_series_goes_on_as_if_nothing_had_been(cut: int) -> None:
    points = daily(1000, 4)
    points[800] = (points[800][0], -40.0)
    whole, begun = Series(), Series()
    wanted = scores(whole, points)
    got = scores(begun, points[:cut])
    packer = Packer()
    begun.pack(packer)
    loaded = Series.unpack(Unpacker.of(packer.to_state()))
    got += scores(loaded, points[cut:])
    assert got == wanted
    assert packed(loaded) == packed(whole)


def test_p_counts_the_scores_of_the_last_2000_points() -> None:
    points = [(START + n * MINUTE, float(n % 10)) for n in range(4000)]
    for at in (1000, 1500, 3500):
        points[at] = (points[at][0], points[at][1] + 30.0 * at)
    found = scores(Series(), points)
    assert found[1000].among == 700
    assert found[1500].at_least == sum(point.score >= found[1500].score for point in found[300:1500])
    assert found[3500].among == 2000
    assert found[3500].at_least <= sum(point.score > 0 for point in found[1500:3500])


def test_mean_and_deviation_forget_a_huge_value() -> None:
    recent = RecentValues()
    chance = random.Random(6)
    values = [chance.uniform(0, 1) for _ in range(200)]
    values[40] = 1e15
    for number, value in enumerate(values):
        mean, deviation = recent.add(value)
        if number >= 100:
            assert mean == pytest.approx(statistics.fmean(values[number - 19 : number + 1]), rel=1e-9)
            assert deviation == pytest.approx(statistics.stdev(values[number - 29 : number + 1]), rel=1e-9)


def test_seasons_follow_the_step() -> None:
    assert seasons_of(0) == (None, None)
    day, week = seasons_of(5 * MINUTE)
    assert day is not None
    assert week is not None
    assert seasons_of(MINUTE)[1] is None
    assert seasons_of(10_000_000)[0] is not None  # 8,640 points a day share 1,440 slots
    assert seasons_of(8 * 60 * MINUTE)[0] is None
    season = Season(DAY_US, 288)
    assert math.isnan(season.difference(START, 5.0))
    assert season.difference(START + DAY_US, 7.0) == 2.0


def test_levels_beyond_the_warm_up_are_clamped() -> None:
    context = LevelContext(0.0, 1.0)
    assert context.novelty(0.5) == pytest.approx(1 / (25 / 12))
    assert context.novelty(1e300) > 0
    context.novelty(-1e300)
    assert [context.novelty(0.5) for _ in range(5)][-1] == 0


def test_a_full_bank_counts_what_it_leaves_out() -> None:
    bank = SeriesBank(most=2)
    assert bank.observe("a", START, 1.0) is not None
    assert bank.observe("b", START, 1.0) is not None
    assert bank.observe("c", START, 1.0) is None
    assert (len(bank), bank.dropped_points) == (2, 1)


def test_a_saved_bank_goes_on_as_if_nothing_had_been() -> None:
    bank = SeriesBank()
    points = {"calm": daily(900, 1), "wild": daily(900, 2), "young": daily(900, 3)[:200]}
    for name, values in points.items():
        for at, value in values[:700]:
            bank.observe(name, at, value)
    loaded = SeriesBank.from_state(bank.to_state())
    for name, values in points.items():
        for at, value in values[700:]:
            assert loaded.observe(name, at, value) == bank.observe(name, at, value)
    assert loaded.silent(START) == []
    assert loaded.silent(START + 9 * DAY_US) == ["calm", "wild", "young"]


def test_minutes_without_events_are_counted() -> None:
    rate = EventRate()
    closed = [minute for n in range(60) for minute in rate.observe(START + n * 10_000_000)]
    assert [minute.events for minute in closed] == [6] * 9
    closed = list(rate.observe(START + 20 * MINUTE))
    assert [minute.events for minute in closed] == [6] + [0] * 10
    assert closed[-1].start_us == START + 19 * MINUTE


def test_a_flood_and_a_silence_are_found_in_the_number_of_events() -> None:
    rate = EventRate()
    chance = random.Random(8)
    for minute in range(600):
        list(rate.observe(START + minute * MINUTE, chance.randrange(90, 110)))
    list(rate.observe(START + 600 * MINUTE, 900))
    (flood,) = list(rate.observe(START + 601 * MINUTE, 100))
    assert flood.events == 900
    assert flood.point.score >= 900
    loaded = EventRate.from_state(rate.to_state())
    assert loaded.silent_from_us == START + 606 * MINUTE
    for minute in range(602, 720):
        list(loaded.observe(START + minute * MINUTE, chance.randrange(90, 110)))
    found = list(loaded.observe(START + 730 * MINUTE, 100))
    assert max(minute.point.score for minute in found) >= 320


def test_a_gap_of_months_takes_no_more_than_a_week_of_minutes() -> None:
    rate = EventRate()
    list(rate.observe(START))
    found = list(rate.observe(START + 100 * DAY_US))
    assert len(found) == 1 + 10_080
    assert found[-1].start_us == START + 100 * DAY_US - MINUTE
