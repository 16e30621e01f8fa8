from typing import Any

from guardhouse.analysis.anomaly.metric_points import MetricPoint, MetricReader, series_name

S = 1_000_000
T0 = 1_767_225_600 * S


def read(reader: MetricReader, **words: Any) -> dict[str, float]:
    point = MetricPoint(**{"name": "m", "at_us": T0, **words})
    return {value.name.split("|")[0]: value.value for value in reader.values(point)}


def test_a_gauge_is_taken_as_it_is() -> None:
    assert read(MetricReader(), kind="gauge", value=-3.5) == {"m": -3.5}


def test_a_cumulative_sum_becomes_a_rate_and_a_fall_counts_from_zero() -> None:
    reader = MetricReader()
    told = {"kind": "sum", "monotonic": True, "start_us": T0 - 100 * S}
    assert read(reader, value=1000.0, **told) == {}
    assert read(reader, value=1060.0, **{**told, "at_us": T0 + 30 * S}) == {"m.rate": 2.0}
    assert read(reader, value=30.0, **{**told, "at_us": T0 + 60 * S}) == {"m.rate": 1.0}


def test_another_start_counts_from_that_start() -> None:
    reader = MetricReader()
    read(reader, kind="sum", monotonic=True, value=10.0, start_us=T0 - S)
    restarted = {"at_us": T0 + 30 * S, "start_us": T0 + 20 * S}
    assert read(reader, kind="sum", monotonic=True, value=40.0, **restarted) == {"m.rate": 4.0}


def test_a_sum_that_may_fall_is_a_level() -> None:
    reader = MetricReader()
    assert read(reader, kind="sum", value=5.0) == {"m": 5.0}
    assert read(reader, kind="sum", value=2.0, at_us=T0 + S) == {"m": 2.0}


def test_a_delta_sum_needs_its_start_or_the_point_before() -> None:
    reader = MetricReader()
    told = {"kind": "sum", "cumulative": False, "monotonic": True}
    assert read(reader, value=20.0, start_us=T0 - 10 * S, **told) == {"m.rate": 2.0}
    assert read(reader, value=20.0, at_us=T0 + 5 * S, **told) == {"m.rate": 4.0}
    assert read(MetricReader(), value=20.0, **told) == {}


def test_a_histogram_gives_mean_and_rate() -> None:
    reader = MetricReader()
    assert read(reader, kind="histogram", observations=10, total=50.0) == {}
    told = {"kind": "histogram", "at_us": T0 + 10 * S}
    assert read(reader, observations=30, total=110.0, **told) == {"m.rate": 2.0, "m.mean": 3.0}
    quiet = {"kind": "histogram", "at_us": T0 + 20 * S}
    assert read(reader, observations=30, total=110.0, **quiet) == {"m.rate": 0.0}
    wide = {"kind": "exponential_histogram", "cumulative": False, "start_us": T0 - 5 * S}
    assert read(reader, observations=10, total=5.0, **wide) == {"m.rate": 2.0, "m.mean": 0.5}
    assert read(reader, observations=10, at_us=T0 + S, **{**wide, "start_us": T0}) == {"m.rate": 10.0}


def test_a_summary_gives_its_quantiles() -> None:
    found = read(MetricReader(), kind="summary", observations=3, quantiles=((0.5, 1.0), (0.99, 9.0)))
    assert found == {"m.q0.5": 1.0, "m.q0.99": 9.0}


def test_late_points_and_what_is_not_finite_give_nothing() -> None:
    reader = MetricReader()
    read(reader, kind="sum", monotonic=True, value=10.0)
    assert read(reader, kind="sum", monotonic=True, value=11.0) == {}
    assert read(reader, kind="gauge", value=float("inf")) == {}
    assert read(reader, kind="gauge") == {}
    assert read(reader, kind="histogram") == {}


def test_unit_kind_and_attributes_name_the_series_in_any_order() -> None:
    one = MetricPoint("m", "gauge", T0, unit="s", attributes=(("b", "2"), ("a", "1")))
    assert series_name(one) == series_name(one._replace(attributes=(("a", "1"), ("b", "2"))))
    others = (one._replace(unit="ms"), one._replace(kind="sum"), one._replace(attributes=()))
    assert len({series_name(one), *(series_name(other) for other in others)}) == 4


def test_a_full_reader_counts_and_a_saved_one_goes_on() -> None:
    reader = MetricReader(most=1)
    counter = {"kind": "sum", "monotonic": True}
    read(reader, value=10.0, **counter)
    assert read(reader, value=10.0, **counter, unit="s") == {}
    assert reader.dropped_points == 1
    loaded = MetricReader.from_state(reader.to_state())
    assert loaded.dropped_points == 1
    assert read(loaded, value=16.0, at_us=T0 + 2 * S, **counter) == {"m.rate": 3.0}
