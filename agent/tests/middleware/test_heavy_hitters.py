"""The table of the busiest clients, and how often the same thing is told."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from guard_agent._web.heavy_hitters import ENTRIES, HeavyHitters
from guard_agent._web.told_lately import Bursts, ToldLately


@given(st.lists(st.integers(0, 400), max_size=3000), st.integers(0, 5))
def test_counts_are_never_too_low_and_too_high_by_what_they_say(addresses: list[int], busy: int) -> None:
    truth = Counter(str(number) for number in addresses)
    truth["busy"] += busy * 100
    counter = HeavyHitters()
    for address in [str(number) for number in addresses] + ["busy"] * (busy * 100):
        counter.count(address, 600.0)
    report = counter.report(660.0)
    if not sum(truth.values()):
        assert report is None
        return
    assert report is not None
    assert (report["minute"], report["total"]) == (600, sum(truth.values()))
    top = {entry["address"]: entry for entry in report["top"]}
    assert len(top) <= ENTRIES
    for address, entry in top.items():
        assert entry["count"] - entry["over"] <= truth[address] <= entry["count"]
    for address, count in truth.items():
        assert count <= report["total"] / ENTRIES or address in top


def test_who_asks_often_stays_in_the_table_among_many_that_ask_once() -> None:
    counter = HeavyHitters()
    for number in range(2000):
        counter.count(f"once-{number}", 60.0)
        if number % 20 == 0:
            counter.count("often", 60.0)
    report = counter.report(120.0)
    assert report is not None
    assert len(report["top"]) == ENTRIES
    (often,) = [entry for entry in report["top"] if entry["address"] == "often"]
    assert often["count"] - often["over"] <= 100 <= often["count"]
    assert sum(entry["count"] for entry in report["top"]) == report["total"] == 2100


def test_a_report_is_of_the_last_minute_with_requests() -> None:
    counter = HeavyHitters()
    assert counter.report(0.0) is None
    counter.count("a", 60.0)
    assert counter.report(119.0) is None
    assert counter.report(120.0) == {
        "minute": 60,
        "total": 1,
        "top": [{"address": "a", "count": 1, "over": 0}],
    }
    counter.count("b", 185.0)
    assert counter.report(190.0) == {
        "minute": 60,
        "total": 1,
        "top": [{"address": "a", "count": 1, "over": 0}],
    }
    counter.count("b", 245.0)
    last = counter.report(246.0)
    assert last is not None
    assert (last["minute"], last["top"][0]["address"]) == (180, "b")


def test_what_is_held_back_is_told_with_the_next_report() -> None:
    told = ToldLately(10.0)
    assert told.ask(("a", "x"), 0.0) == 0
    assert [told.ask(("a", "x"), 1.0), told.ask(("a", "x"), 9.9), told.ask(("b", "x"), 9.9)] == [
        None,
        None,
        0,
    ]
    assert told.ask(("a", "x"), 10.0) == 2
    for number in range(30_000):
        told.ask((str(number), "x"), 11.0)
    assert len(told._told) <= 10_000


def test_a_burst_is_told_once_and_counted_anew() -> None:
    bursts = Bursts(3, 60.0)
    assert [bursts.add("a", moment) for moment in (0.0, 50.0, 60.0, 61.0, 62.0)] == [
        None,
        None,
        None,
        3,
        None,
    ]
    for number in range(30_000):
        bursts.add(str(number), 70.0)
    assert len(bursts._seen) <= 10_001
