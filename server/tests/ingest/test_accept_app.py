"""App batches: stored once, whoever delivers them and how often; counted exactly; nothing of another tenant."""

import asyncio
import json
import random
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardhouse.events.identify import identifier
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import keys
from guardhouse.identity.keys import NewKey
from guardhouse.identity.tenants import find_tenant
from server.tests.components.postgres import Clone
from server.tests.ingest.make import Door, batch, counts, open_door, packed


async def test_the_answer_is_the_object_that_clients_know(door: Door) -> None:
    noise = door.event(event_type="suspicious_request", idempotency_key="n")
    answer = await door.events(batch([door.event(idempotency_key="k"), noise, 5], [door.metric()]))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["guardhouse-version"] == "1"
    assert answer.headers["x-correlation-id"]
    said = answer.json()
    assert list(said) == [
        "success",
        "batch_id",
        "accepted",
        "duplicates",
        "rejected",
        "held",
        "rolled_up",
        "rejections",
        "server_time",
        "rules_revision",
    ]
    assert said | {"server_time": ""} == {
        "success": True,
        "batch_id": "b-1",
        "accepted": 2,
        "duplicates": 0,
        "rejected": 1,
        "held": 0,
        "rolled_up": 1,
        "rejections": [
            {"index": 2, "key": None, "code": "not_an_object", "detail": "the item is not an object"}
        ],
        "server_time": "",
        "rules_revision": 0,
    }


async def test_an_exact_repeat_is_answered_from_the_receipt(door: Door) -> None:
    body = batch([door.event(), door.event(event_type="suspicious_request"), None], [door.metric()])
    assert counts(await door.events(body)) == (2, 0, 1, 1)
    again = await door.events(packed(body), content_encoding="gzip")
    assert counts(again) == (0, 4, 0, 0)
    assert again.headers["idempotency-replayed"] == "true"
    assert [await door.count(t) for t in ("events", "metrics", "event_rollups", "quarantine")] == [1, 1, 1, 1]


async def test_the_same_items_under_another_batch_id_are_duplicates_one_by_one(door: Door) -> None:
    events = [door.event(idempotency_key=f"k{n}") for n in range(5)]
    assert counts(await door.events(batch(events[:3]))) == (3, 0, 0, 0)
    answer = await door.events(batch(events, batch_id="b-2"))
    assert counts(answer) == (2, 3, 0, 0)
    assert "idempotency-replayed" not in answer.headers
    assert await door.count("events") == 5


async def test_row_ids_follow_the_rule_of_the_house(door: Door) -> None:
    own = door.now.replace(microsecond=123_456)
    await door.events(batch([door.event(idempotency_key="k", timestamp=own.isoformat())]))
    (row,) = await door.rows(
        "SELECT event_id, project_id, occurred_at FROM events JOIN projects USING (project_no)"
    )
    identify = identifier(str(door.tenant.id), str(row["project_id"]))
    assert row["event_id"].bytes == identify(int(own.timestamp() * 1000), "e\0k")
    assert row["occurred_at"] == own


async def test_true_twins_without_a_key_survive_and_a_repeat_collapses(door: Door) -> None:
    twin = door.event()
    assert counts(await door.events(batch([twin, twin, twin]))) == (3, 0, 0, 0)
    assert counts(await door.events(batch([twin, twin, twin], batch_id="b-2"))) == (0, 3, 0, 0)
    assert counts(await door.events(batch([twin] * 4, batch_id="b-3"))) == (1, 3, 0, 0)


async def test_metrics_are_told_apart_by_the_one_before_them(door: Door) -> None:
    count, time = door.metric(), door.metric(metric_type="response_time", value=0.5)
    other = door.metric(metric_type="error_rate")
    assert counts(await door.post("/api/v1/metrics", batch(metrics=[count, time]))) == (2, 0, 0, 0)
    # Another worker, the same microsecond: the same values after other ones are other measurements.
    second = batch(metrics=[other, count, time], batch_id="b-2")
    assert counts(await door.post("/api/v1/metrics", second)) == (2, 1, 0, 0)
    third = batch(metrics=[count, time], batch_id="b-3")
    assert counts(await door.post("/api/v1/metrics", third)) == (0, 2, 0, 0)


async def test_keyed_metrics_collapse_in_any_order(door: Door) -> None:
    metrics = [door.metric(idempotency_key=f"m{n}", value=n) for n in range(4)]
    assert counts(await door.events(batch(metrics=metrics))) == (4, 0, 0, 0)
    assert counts(await door.events(batch(metrics=metrics[::-1], batch_id="b-2"))) == (0, 4, 0, 0)


async def test_the_same_key_with_other_content(door: Door) -> None:
    first, changed = door.event(idempotency_key="k"), door.event(idempotency_key="k", reason="other")
    changed["timestamp"] = first["timestamp"]
    later = door.event(idempotency_key="k", timestamp=(door.now - timedelta(minutes=1)).isoformat())
    assert counts(await door.events(batch([first, changed]))) == (1, 1, 0, 0)
    (row,) = await door.rows("SELECT reason, flags FROM events")
    assert row["reason"] is None
    assert row["flags"] == 32
    assert counts(await door.events(batch([changed, later], batch_id="b-2"))) == (1, 1, 0, 0)


@pytest.mark.parametrize("stamp", [None, "", "yesterday", [], "9999-01-01T00:00:00Z", -1, "future"])
async def test_items_without_usable_time_are_stored_once(door: Door, stamp: Any) -> None:
    if stamp == "future":
        stamp = (door.now + timedelta(minutes=10)).isoformat()
    body = batch([door.event(timestamp=stamp)], [door.metric(timestamp=stamp)])
    assert counts(await door.events(body)) == (2, 0, 0, 0)
    assert counts(await door.events(body | {"batch_id": "b-2"})) == (0, 2, 0, 0)
    (row,) = await door.rows("SELECT occurred_at, received_at, flags FROM events")
    assert row["occurred_at"] == row["received_at"]
    assert row["flags"] & 3


async def test_an_item_that_was_ahead_of_our_clock_is_known_when_the_clock_has_caught_up(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = door.event(timestamp=(door.now + timedelta(minutes=6)).isoformat(), idempotency_key="k")
    assert counts(await door.events(batch([ahead]))) == (1, 0, 0, 0)
    clock = door.resources.clock
    real = clock.now
    monkeypatch.setattr(clock, "now", lambda: real() + timedelta(minutes=10), raising=False)
    assert counts(await door.events(batch([ahead], batch_id="b-2"))) == (0, 1, 0, 0)


async def test_noise_is_counted_not_stored_and_counted_once(door: Door) -> None:
    stamp = door.now.replace(second=0, microsecond=0) - timedelta(minutes=2)
    noise = [
        door.event(
            event_type="suspicious_request",
            idempotency_key=f"n{n}",
            reason=f"X-Forwarded-For header 192.0.2.{n}",
            timestamp=(stamp + timedelta(seconds=n)).isoformat(),
        )
        for n in range(50)
    ]
    assert counts(await door.events(batch(noise[:30]))) == (0, 0, 30, 0)
    assert counts(await door.events(batch(noise[10:], batch_id="b-2"))) == (0, 20, 20, 0)
    (row,) = await door.rows("SELECT * FROM event_rollups")
    assert row["count"] == 50
    assert (row["first_at"], row["last_at"]) == (stamp, stamp + timedelta(seconds=49))
    assert json.loads(row["sample"])["reason"] == "X-Forwarded-For header 192.0.2.0"
    assert await door.count("events") == 0


async def test_a_project_may_keep_noise_as_rows(door: Door) -> None:
    await door.events(batch())
    await door.behind.execute("""UPDATE projects SET settings = '{"keep_noise": true}'""")
    body = batch([door.event(event_type="geo_lookup_failed")], batch_id="b-2")
    assert counts(await door.events(body)) == (1, 0, 0, 0)
    assert [row["class"] for row in await door.rows("SELECT class FROM events")] == ["noise"]


async def test_one_batch_delivered_by_many_at_once_is_stored_once(door: Door) -> None:
    body = batch(
        [door.event(idempotency_key=f"k{n}") for n in range(200)]
        + [door.event(event_type="redis_error", reason=str(n)) for n in range(20)],
        [door.metric(value=n) for n in range(50)],
    )
    answers = await asyncio.gather(*(door.events(body) for _ in range(6)))
    found = sorted(counts(answer) for answer in answers)
    assert found == [(0, 270, 0, 0)] * 5 + [(250, 0, 20, 0)]
    replayed = [answer.headers.get("idempotency-replayed") for answer in answers]
    assert replayed.count("true") == 5
    assert [await door.count(table) for table in ("events", "metrics")] == [200, 50]


async def test_overlapping_batches_from_many_at_once_never_store_twice_or_fail(door: Door) -> None:
    events = [door.event(idempotency_key=f"k{n}") for n in range(120)]
    events += [door.event(event_type="redis_error", idempotency_key=f"n{n}") for n in range(40)]
    shuffled = []
    for n in range(8):
        part = random.Random(n).sample(events, 100)
        shuffled.append(batch(part, batch_id=f"b-{n}"))
    answers = await asyncio.gather(*(door.events(body) for body in shuffled))
    found = [counts(answer) for answer in answers]
    sent = {event["idempotency_key"] for body in shuffled for event in body["events"]}
    assert sum(stored for stored, *_ in found) == await door.count("events")
    assert await door.count("events") == len({key for key in sent if key.startswith("k")})
    (total,) = await door.rows("SELECT sum(count)::int AS n FROM event_rollups")
    assert total["n"] == len({key for key in sent if key.startswith("n")})
    assert all(sum(one) == 100 for one in found)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_keyed_items_are_idempotent_under_any_permutation_split_and_repetition(
    door: Door, data: st.DataObject
) -> None:
    project = f"p-{uuid4().hex[:12]}"
    await door.behind.execute("UPDATE tenants SET settings = '{}'")
    events = [door.event(idempotency_key=f"k{n}", timestamp=door.now.timestamp()) for n in range(12)]
    deliveries = data.draw(
        st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=8), min_size=1, max_size=6)
    )
    stored = 0
    for number, delivery in enumerate(deliveries):
        body = batch([events[n] for n in delivery], batch_id=f"b-{number}")
        accepted, duplicates, _, _ = counts(await door.events(body, x_project_id=project))
        assert accepted + duplicates == len(delivery)
        stored += accepted
    assert stored == len({n for delivery in deliveries for n in delivery})


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(picks=st.lists(st.integers(0, 4), min_size=1, max_size=10))
async def test_unkeyed_items_are_idempotent_under_repetition(door: Door, picks: list[int]) -> None:
    project = f"p-{uuid4().hex[:12]}"
    now = door.now.timestamp()
    body = batch(
        [door.event(reason=str(n), timestamp=now) for n in picks],
        [door.metric(value=n, timestamp=now) for n in picks],
    )
    assert counts(await door.events(body, x_project_id=project))[0] == 2 * len(picks)
    again = body | {"batch_id": "b-2"}
    assert counts(await door.events(again, x_project_id=project))[:2] == (0, 2 * len(picks))


async def test_an_idempotency_key_belongs_to_one_body(door: Door) -> None:
    body = batch([door.event()])
    assert counts(await door.events(body, idempotency_key='"abc"')) == (1, 0, 0, 0)
    assert counts(await door.events(body, idempotency_key="abc")) == (0, 1, 0, 0)
    refused = await door.events(batch([door.event(reason="x")], batch_id="b-2"), idempotency_key="abc")
    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_key_reused")
    assert await door.count("events") == 1
    assert (await door.events(body, idempotency_key="\x7f")).json()["code"] == "idempotency_key_invalid"


async def test_a_missing_day_is_made_when_it_is_needed(door: Door) -> None:
    old = door.now - timedelta(days=20)
    for table in ("events", "metrics", "event_rollups"):
        await door.behind.execute(f"DROP TABLE {table}_p{old:%Y%m%d}")
    noise = door.event(event_type="redis_error", timestamp=old.isoformat())
    body = batch([door.event(timestamp=old.isoformat()), noise], [door.metric(timestamp=old.isoformat())])
    assert counts(await door.events(body)) == (2, 0, 1, 0)


async def test_a_fault_in_the_middle_leaves_nothing_and_the_retry_stores_all(door: Door) -> None:
    await door.behind.execute("ALTER TABLE event_rollups RENAME TO rollups_away")
    body = batch([door.event(), door.event(event_type="redis_error"), 5], [door.metric()])
    try:
        failed = await door.events(body)
    finally:
        await door.behind.execute("ALTER TABLE rollups_away RENAME TO event_rollups")
    assert failed.status_code in (500, 503)
    for table in ("events", "metrics", "telemetry_receipts", "telemetry_seen", "quarantine"):
        assert await door.count(table) == 0, table
    assert counts(await door.events(body)) == (2, 0, 1, 1)


# Projects and tenants.


async def test_projects_are_found_by_id_slug_or_external_id_and_made_when_new(door: Door) -> None:
    await door.events(batch([door.event()]), x_project_id="proj_demo")
    (made,) = await door.rows("SELECT * FROM projects")
    assert (made["slug"], made["external_ids"]) == ("proj-demo", ["proj_demo"])
    for name in ("proj_demo", "proj-demo", str(made["project_id"])):
        await door.events(batch([door.event()], batch_id=name), x_project_id=name)
    assert await door.count("projects") == 1
    await door.events(batch(), x_project_id="Proj_Demo")
    await door.events(batch())
    await door.events(batch(project_id="from-body"))
    await door.events(batch(project_id="from-body"), x_project_id="default")
    slugs = {row["slug"] for row in await door.rows("SELECT slug FROM projects")}
    assert "default" in slugs
    assert "from-body" in slugs
    assert len(slugs) == 4


async def test_a_project_named_by_many_at_once_is_made_once(door: Door) -> None:
    sent = (door.events(batch([door.event()], batch_id=str(n)), x_project_id="new") for n in range(6))
    assert all(answer.status_code == 200 for answer in await asyncio.gather(*sent))
    assert await door.count("projects") == 1


async def test_projects_are_not_made_beyond_the_limit_or_when_the_tenant_forbids_it(door: Door) -> None:
    await door.behind.execute(
        "INSERT INTO projects (project_id, tenant_id, slug, external_ids, state, settings, created_at)"
        " SELECT gen_random_uuid(), $1, 'p' || n, '{}', 'active', '{}', now() FROM generate_series(1, 200) n",
        door.tenant.id,
    )
    refused = await door.events(batch(), x_project_id="one-more")
    assert (refused.status_code, refused.json()["code"]) == (403, "unknown_project")
    assert (await door.events(batch())).status_code == 200  # the default project always exists
    await door.behind.execute("DELETE FROM projects")
    await door.behind.execute("""UPDATE tenants SET settings = '{"auto_create_projects": false}'""")
    assert (await door.events(batch(), x_project_id="x")).json()["code"] == "unknown_project"
    assert (await door.events(batch(), x_project_id="x" * 200)).json()["code"] == "unknown_project"


async def test_a_bound_key_speaks_for_its_project_only(door: Door) -> None:
    await door.events(batch(), x_project_id="mine")
    await door.events(batch(), x_project_id="other")
    (mine,) = await door.rows("SELECT project_id FROM projects WHERE slug = 'mine'")
    resources = door.resources
    async with system_transaction(resources.database) as tx:
        tenant = await find_tenant(tx, "acme")
        assert tenant is not None
        wanted = NewKey("bound", "agent", project_id=mine["project_id"])
        _, bound = await keys.create_key(
            tx, resources.clock, resources.peppers[0], tenant, wanted, created_by="test"
        )
    for name in (None, "mine"):
        answer = await door.events(batch([door.event()]), x_api_key=bound, x_project_id=name)
        assert answer.status_code == 200
    for name in ("other", "unheard-of"):
        refused = await door.events(batch(), x_api_key=bound, x_project_id=name)
        assert (refused.status_code, refused.json()["code"]) == (403, "project_mismatch")
    assert await door.count("projects") == 2


async def test_nothing_reaches_another_tenant(door: Door, database: Clone) -> None:
    await door.events(batch([door.event(idempotency_key="k")], [door.metric()]), x_project_id="shop")
    (theirs,) = await door.rows("SELECT project_id, project_no FROM projects")
    async with open_door(door.resources, database.superuser_url, slug="evil") as evil:
        stamp = (await door.rows("SELECT occurred_at FROM events"))[0]["occurred_at"].isoformat()
        for name in (str(theirs["project_id"]), "shop", None):
            body = batch(
                [evil.event(idempotency_key="k", timestamp=stamp, tenant_no=door.tenant.no), 5],
                [evil.metric(tenant_no=door.tenant.no)],
                batch_id=f"evil-{name}",
                tenant_id=str(door.tenant.id),
                tenant_no=door.tenant.no,
                project_no=theirs["project_no"],
            )
            assert counts(await evil.events(body, x_project_id=name)) == (2, 0, 0, 1)
    for table, expected in (("events", 1), ("metrics", 1), ("quarantine", 0), ("telemetry_receipts", 1)):
        (row,) = await door.rows(
            f"SELECT count(*) FILTER (WHERE tenant_no = $1) AS ours,"
            f" count(*) FILTER (WHERE tenant_no <> $1 AND project_no = $2) AS smuggled FROM {table}",
            door.tenant.no,
            theirs["project_no"],
        )
        assert tuple(row) == (expected, 0), table
