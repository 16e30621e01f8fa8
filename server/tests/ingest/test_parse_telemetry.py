"""Items of app batches: what becomes of each, and the source key that every copy of it has."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from guardhouse.analysis.abuse.classes import CLASSES
from guardhouse.ingest.parse_telemetry import AppEvent, AppMetric, Parser, Rejected, canonical, fingerprint

VECTORS = Path(__file__).parents[3] / "contract" / "vectors" / "app_source_keys.json"
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def parse(events: list[Any] = [], metrics: list[Any] = []) -> list[Any]:  # noqa: B006 - never changed
    def raw(items: list[Any]) -> list[bytes]:
        return [json.dumps(item).encode() for item in items]

    return list(Parser(NOW).parse(raw(events), raw(metrics)))


def keys(items: list[Any]) -> list[str]:
    return [item.source_key.replace("\0", "|") for item in items]


def test_source_keys_of_events() -> None:
    plain = {"event_type": "x", "a": 1}
    same = {"a": 1, "event_type": "x"}
    found = parse(
        [{"idempotency_key": "k"}, plain, same, {"idempotency_key": "x" * 129}, {"idempotency_key": ""}]
    )
    assert keys(found) == [
        "e|k",
        'c|{"a":1,"event_type":"x"}|0',
        'c|{"a":1,"event_type":"x"}|1',
        f'c|{{"idempotency_key":"{"x" * 129}"}}|0',
        'c|{"idempotency_key":""}|0',
    ]


def test_source_keys_of_metrics() -> None:
    one, two = {"value": 1}, {"value": 2}
    found = parse([], [one, one, one, two, one, {"value": 3, "idempotency_key": "k"}])
    assert keys(found) == [
        'n||{"value":1}|0',
        'n|{"value":1}|{"value":1}|0',
        'n|{"value":1}|{"value":1}|1',
        'n|{"value":1}|{"value":2}|0',
        'n|{"value":2}|{"value":1}|0',
        "m|k",
    ]


def test_source_keys_are_those_of_the_published_vectors() -> None:
    vectors = json.loads(VECTORS.read_text(encoding="utf-8"))
    events, metrics = ([case["item"] for case in vectors[array]] for array in ("events", "metrics"))
    expected = [case["source_key"] for case in (*vectors["events"], *vectors["metrics"])]
    assert keys(parse(events, metrics)) == expected


def test_canonical_json_is_the_same_for_every_order_and_number() -> None:
    assert canonical({"b": [1, {"d": None, "c": "é"}], "a": 10**30}) == (
        '{"a":1000000000000000000000000000000,"b":[1,{"c":"é","d":null}]}'
    )


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (5, "not_an_object"),
        ([], "not_an_object"),
        (None, "not_an_object"),
        ({"pid": 1, "syscall": "execve"}, "wrong_family"),
        ({"kind": "exec"}, "wrong_family"),
        ({"reason": "x" * 65_536}, "item_too_large"),
    ],
)
def test_rejected_events(item: Any, code: str) -> None:
    (found,) = parse([item])
    assert isinstance(found, Rejected)
    assert (found.code, found.index, found.kind) == (code, 0, "event")


def test_indexes_count_events_first() -> None:
    found = parse([{"event_type": "x"}, 5], [{"value": 1}, {"value": None, "idempotency_key": "k"}])
    assert [type(item) for item in found] == [AppEvent, Rejected, AppMetric, Rejected]
    assert [item.index for item in found] == [0, 1, 2, 3]
    assert (found[3].code, found[3].key) == ("no_value", "k")


@pytest.mark.parametrize(
    ("offset", "usable"),
    [(-30, True), (-30.01, False), (0, True), (5 / 1440, True), (6 / 1440, False), (400, False)],
)
def test_times_within_bounds_order_the_item(offset: float, usable: bool) -> None:  # noqa: FBT001 - a case
    own = NOW + timedelta(days=offset)
    (found,) = parse([{"timestamp": own.isoformat()}])
    assert found.moment.usable is usable
    assert found.moment.occurred_at == (own if usable else NOW)
    assert found.moment.claimed_at == (None if usable else own)
    assert found.moment.own_ms == int(own.timestamp() * 1000)


def test_a_missing_time_is_the_time_of_receipt() -> None:
    (found,) = parse([{}])
    assert (found.moment.own_ms, found.moment.occurred_at, found.flags) == (None, NOW, 1)
    assert (found.event_type, found.event_class) == ("unknown", "other")


def test_classes() -> None:
    types = ["penetration_attempt", "rate_limited", "pattern_added", "suspicious_request", "new_kind"]
    found = parse([{"event_type": name} for name in types])
    assert [item.event_class for item in found] == ["attack", "policy", "config", "noise", "other"]
    assert len(CLASSES) == 39


def test_fingerprints_ignore_numbers_and_identifiers() -> None:
    reasons = ["header 192.0.2.1 of 5", "header 192.0.2.99 of 17", "footer 192.0.2.1 of 5"]
    one, two, three = (fingerprint(item) for item in parse([{"reason": reason} for reason in reasons]))
    assert one == two
    assert one != three
