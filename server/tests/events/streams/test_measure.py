"""The values of a minute: sums, ratios, percentiles, the busiest routes and the rest."""

import pytest

from guardhouse.events.streams.measure import (
    BUSIEST,
    OTHER,
    PROJECT,
    SeenEvent,
    SeenMetric,
    measure,
    percentile,
)


def requests(count: float, endpoint: str | None = "/") -> SeenMetric:
    return SeenMetric("request_count", count, endpoint)


@pytest.mark.parametrize(
    ("times", "share", "expected"),
    [
        ([], 0.5, None),
        ([(0.2, 1)], 0.95, 0.2),
        ([(float(n), 1) for n in range(1, 101)], 0.5, 50.0),
        ([(float(n), 1) for n in range(100, 0, -1)], 0.95, 95.0),
        ([(0.1, 94), (9.0, 6)], 0.95, 9.0),
        ([(0.1, 95), (9.0, 5)], 0.95, 0.1),
    ],
)
def test_percentiles(times: list[tuple[float, int]], share: float, expected: float | None) -> None:
    assert percentile(times, share) == expected


def test_a_minute() -> None:
    found, new = measure(
        [
            SeenEvent("attack", "203.0.113.7", "/items/1", "request_blocked", 3),
            SeenEvent("policy", "203.0.113.8", "/items/2", "logged"),
            SeenEvent("noise", count=40),
        ],
        [
            requests(8, "/items/3"),
            requests(2, "/"),
            SeenMetric("error_rate", 1.0, "/items/3"),
            SeenMetric("response_time", 0.1, "/items/3", 8),
            SeenMetric("response_time", 0.9, "/", 2),
        ],
        known=(),
        room=500,
    )
    assert new == {"/", "/items/{n}"}
    whole = found[PROJECT]
    assert whole == {
        "events.attack": 3.0,
        "events.policy": 1.0,
        "events.config": 0.0,
        "events.noise": 40.0,
        "events.other": 0.0,
        "distinct_ips": 2.0,
        "request_count": 10.0,
        "error_ratio": 0.1,
        "blocked_ratio": 0.3,
        "response_time.p50": 0.1,
        "response_time.p95": 0.9,
    }
    assert found["/items/{n}"]["error_ratio"] == 0.125
    assert found["/"]["response_time.p50"] == 0.9
    assert found[OTHER]["events.noise"] == 40.0


def test_without_requests_there_is_no_ratio() -> None:
    found, _ = measure([SeenEvent("attack", "203.0.113.7", "/", "request_blocked")], [], (), 500)
    assert found[PROJECT]["error_ratio"] is None
    assert found[PROJECT]["response_time.p95"] is None


def test_fifty_routes_have_lines_and_the_rest_is_one() -> None:
    found, new = measure([], [requests(1000 - n, f"/r{n}x") for n in range(60)], (), 500)
    assert len(new) == BUSIEST
    assert set(found) == {PROJECT, OTHER, *(f"/r{n}x" for n in range(BUSIEST))}
    assert found[OTHER]["request_count"] == sum(1000 - n for n in range(50, 60))
    assert found[PROJECT]["request_count"] == sum(1000 - n for n in range(60))


def test_beyond_the_routes_a_project_may_have_only_known_ones_have_lines() -> None:
    found, new = measure([], [requests(9, "/a"), requests(8, "/b"), requests(7, "/c")], {"/c"}, 1)
    assert new == {"/a"}
    assert set(found) == {PROJECT, OTHER, "/a", "/c"}
