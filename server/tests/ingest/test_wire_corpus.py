"""What released clients really sent: stored whole, twice the same, and any mutation of it costs only itself.

The corpus is data beside the repository; without it these tests are skipped, and say so.
"""

import gzip
import json
import math
import os
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from guardhouse.analysis.abuse.classes import CLASSES
from guardhouse.foundation.clock import SetClock
from server.tests.components.opened import opened
from server.tests.components.postgres import Clone
from server.tests.ingest.make import Door, counts, open_door

DATA = Path(os.environ.get("GUARDHOUSE_SHARED_DATA") or Path(__file__).parents[4] / "shared" / "data")
CORPUS = DATA / "guard_agent" / "capture.json"
SECTIONS = ("main", "enriched", "shim_2_10", "old_1_1_1")
RECORDED = datetime(2026, 11, 22, tzinfo=UTC)
MUTATIONS: dict[str, Any] = {
    "null": None,
    "number": 17,
    "negative": -1,
    "text": "text",
    "empty": "",
    "flag": True,
    "list": [1, {"a": []}],
    "object": {"a": {"b": None}},
    "huge_text": "x" * 100_000,
    "huge_number": 10**300,
    "huge_list": list(range(20_000)),
    "nan": math.nan,
    "infinity": -math.inf,
    "nul": "a\0b",
    "surrogate": "a\ud800b",
}

pytestmark = pytest.mark.skipif(
    not CORPUS.exists(), reason=f"the wire corpus is not at {CORPUS}; set GUARDHOUSE_SHARED_DATA"
)


@pytest.fixture(scope="module")
def corpus() -> dict[str, Any]:
    """The recorded requests."""
    found: dict[str, Any] = json.loads(CORPUS.read_text(encoding="utf-8"))
    return found


@pytest_asyncio.fixture
async def recorded_door(database: Clone, tmp_path: Path) -> AsyncIterator[Door]:
    """The door as it was when the corpus was recorded."""
    async with (
        opened(database.database_url, tmp_path, clock=SetClock(RECORDED)) as resources,
        open_door(resources, database.superuser_url) as door,
    ):
        yield door


def requests(corpus: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for section in SECTIONS:
        for request in corpus[section]:
            if request["method"] == "POST" and request["path"].endswith(("/events", "/metrics")):
                yield request


async def replay(door: Door, request: dict[str, Any], **changed: Any) -> tuple[int, int, int, int]:
    body = json.dumps(request["body"] | changed).encode()
    said = request["headers"]
    headers = {
        name: said[name] for name in ("User-Agent", "X-Agent-Install-Id", "X-Project-ID") if name in said
    }
    if said.get("Content-Encoding") == "gzip":
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body)
    return counts(await door.post(request["path"], body, **headers))


async def test_the_whole_corpus_twice(recorded_door: Door, corpus: dict[str, Any]) -> None:
    door = recorded_door
    sent = list(requests(corpus))
    expected_events, expected_noise, expected_metrics = 0, 0, 0
    for request in sent:
        body = request["body"]
        items = len(body["events"]) + len(body["metrics"])
        accepted, duplicates, rolled_up, rejected = await replay(door, request)
        assert (accepted + rolled_up, duplicates, rejected) == (items, 0, 0)
        noise = sum(CLASSES.get(event["event_type"]) == "noise" for event in body["events"])
        expected_noise += noise
        expected_events += len(body["events"]) - noise
        expected_metrics += len(body["metrics"])
    assert len(sent) > 25
    assert await door.count("events") == expected_events
    assert await door.count("metrics") == expected_metrics
    (total,) = await door.rows("SELECT sum(count)::int AS n FROM event_rollups")
    assert total["n"] == expected_noise
    assert await door.count("projects") == 1
    (own_time,) = await door.rows("SELECT count(*) AS n FROM events WHERE flags & 3 <> 0")
    assert own_time["n"] == 0

    for request in sent:
        items = len(request["body"]["events"]) + len(request["body"]["metrics"])
        assert await replay(door, request) == (0, items, 0, 0)
    for request in sent:  # and as G2 and G3 send again what they kept: under a new batch id
        items = len(request["body"]["events"]) + len(request["body"]["metrics"])
        assert await replay(door, request, batch_id=str(uuid4())) == (0, items, 0, 0)
    assert await door.count("events") == expected_events
    assert await door.count("metrics") == expected_metrics


def mutated(item: dict[str, Any], extra: str) -> Iterator[dict[str, Any]]:
    for name in [*item, extra]:
        yield {n: v for n, v in item.items() if n != name}
        for value in MUTATIONS.values():
            yield item | {name: value}


@pytest.mark.parametrize("generation", ["current", "enrich", "old"])
@pytest.mark.parametrize("array", ["events", "metrics"])
async def test_a_mutated_item_never_costs_a_valid_sibling(
    recorded_door: Door, corpus: dict[str, Any], generation: str, array: str
) -> None:
    door = recorded_door
    kinds = corpus[f"example_of_each_{array.removesuffix('s')}_type"][generation]
    richest = max(kinds.values(), key=lambda item: len(json.dumps(item)))
    plain = (
        {"event_type": "ip_blocked"} if array == "events" else {"metric_type": "request_count", "value": 1.0}
    )
    siblings = 0
    for number, item in enumerate(mutated(richest, "surprise")):
        around = [
            plain | {"timestamp": "2026-11-21 23:00:00+00:00", "idempotency_key": f"{side}{number}"}
            for side in ("before", "after")
        ]
        body = {"batch_id": f"b{number}", array: [around[0], item, around[1]]}
        accepted, duplicates, rolled_up, rejected = counts(await door.post(f"/api/v1/{array}", body))
        assert accepted + duplicates + rolled_up + rejected == 3
        siblings += 2
    (kept,) = await door.rows(
        f"SELECT count(*) AS n FROM {array}"
        f" WHERE occurred_at = '2026-11-21 23:00:00+00' AND {array[:-1]}_type = $1",
        "ip_blocked" if array == "events" else "request_count",
    )
    assert kept["n"] >= siblings


async def test_a_mutated_envelope_never_costs_its_items(recorded_door: Door, corpus: dict[str, Any]) -> None:
    door = recorded_door
    envelope = next(requests(corpus))["body"] | {"events": [], "metrics": []}
    sent = 0
    for number, changed in enumerate(mutated(envelope, "surprise")):
        if not isinstance(changed.get("events"), list) or changed["events"]:
            continue
        event = {
            "event_type": "ip_blocked",
            "timestamp": "2026-11-21 23:00:00+00:00",
            "idempotency_key": f"k{number}",
        }
        answer = await door.events(changed | {"events": [event]}, x_project_id="shop")
        assert answer.status_code == 200, answer.text
        sent += 1
    assert await door.count("events") == sent > 100
