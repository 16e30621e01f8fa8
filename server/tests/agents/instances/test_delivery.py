"""Delivery of a project: exact where processes keep a ledger, and never more than is known where they do not."""

import asyncio
import random
from pathlib import Path
from typing import Any
from uuid import uuid4

from guardhouse.agents.instances import fold
from guardhouse.foundation.clock import SetClock
from server.tests.agents.instances.say import lane, ledger, status
from server.tests.agents.instances.seen import G1, G3, GH, INSTALL, get, news, project_id, run, shown, tell
from server.tests.components import api
from server.tests.components.door_at_noon import clock, door, resources
from server.tests.components.opened import opened
from server.tests.ingest.make import Door, batch, counts

__all__ = ["clock", "door", "resources"]

NOTHING = {
    "captured": 0, "stored": 0, "rolled_up": 0, "duplicates": 0, "rejected": 0, "merged": 0, "dropped": {},
    "pending": 0, "unaccounted": 0,
}  # fmt: skip


async def delivery(door: Door) -> Any:
    return await get(door, f"/projects/{await project_id(door)}/delivery")


async def test_everything_captured_is_somewhere(door: Door) -> None:
    me = str(uuid4())
    events = [
        door.event(idempotency_key="1"),
        door.event(idempotency_key="2", event_type="suspicious_request"),  # noise
        17,
    ]
    metrics = [door.metric(idempotency_key="m"), door.metric(value="?")]
    counted = {
        "events": lane(
            captured=9, merged=1, dropped={"overflow": 2, "expired": 0}, pending={"memory": 3, "in_flight": 3}
        ),
        "metrics": lane(captured=2, pending={"in_flight": 2}),
    }
    body = batch(events, metrics, instance_id=me, seq=1, ledger=counted)
    assert counts(await door.events(body, user_agent=GH, x_guardhouse_instance=me)) == (2, 0, 1, 2)
    exact = (await delivery(door))["exact"]
    assert exact["events"] == NOTHING | {
        "captured": 9, "stored": 1, "rolled_up": 1, "merged": 1, "dropped": {"overflow": 2}, "pending": 4,
    }  # fmt: skip
    assert exact["metrics"] == NOTHING | {"captured": 2, "stored": 1, "pending": 1}
    counted = {
        "events": lane(
            captured=9, delivered=2, rejected=1, merged=1, dropped={"overflow": 2}, pending={"memory": 3}
        ),
        "metrics": lane(captured=2, delivered=1, rejected=1),
    }
    await tell(door, status(door.now, guardhouse={"seq": 2, "ledger": counted}), x_guardhouse_instance=me)
    found = await delivery(door)
    exact = found["exact"]
    assert exact["events"]["pending"] == 3
    assert exact["metrics"] == NOTHING | {"captured": 2, "stored": 1, "rejected": 1}
    assert (exact["instances"], exact["unaccounted"], found["without_ledger"], found["why"]) == (
        1,
        [],
        [],
        None,
    )
    await tell(door, status(door.now, guardhouse={"seq": 1, "ledger": ledger()}), x_guardhouse_instance=me)
    assert (await delivery(door))["exact"] == exact  # an older ledger that came late


async def test_a_lost_answer_leaves_nothing_open_and_a_loss_does(door: Door, clock: SetClock) -> None:
    me = str(uuid4())
    said = {"user_agent": GH, "x_guardhouse_instance": me}
    sent = [door.event(idempotency_key=str(n)) for n in range(4)]
    first = batch(sent, instance_id=me, seq=1, ledger=ledger(captured=4, pending={"in_flight": 4}))
    for expected in ((4, 0, 0, 0), (0, 4, 0, 0)):  # the first answer was lost
        assert counts(await door.events(first, **said)) == expected
    split = batch(sent[:2], batch_id="b-1.0", instance_id=me, seq=2, ledger=ledger(captured=4, duplicates=4))
    assert counts(await door.events(split, **said)) == (0, 2, 0, 0)
    found = (await delivery(door))["exact"]
    assert found["events"] == NOTHING | {"captured": 4, "stored": 4}
    lost = {"seq": 3, "ledger": ledger(captured=11, delivered=10)}
    await tell(door, status(door.now, guardhouse=lost), **said)
    found = (await delivery(door))["exact"]
    assert found["events"]["unaccounted"] == 7
    assert [(one["id"], one["unaccounted"]) for one in found["unaccounted"]] == [(me, 7)]
    clock.move(599)
    await run(door)
    assert await news(door) == []
    clock.move(1)
    await run(door)
    await run(door)
    (row,) = await door.rows("SELECT installation FROM instances")
    about = {"agent_id": row["installation"], "instance_id": me, "items": 7}
    assert await news(door) == [("agent.unaccounted", about)]
    mended = {"seq": 4, "ledger": ledger(captured=4, duplicates=4)}
    await tell(door, status(door.now, guardhouse=mended), **said)
    detail = await get(door, f"/instances/{me}")
    assert (detail["ledger"]["unaccounted_since"], detail["ledger"]["seq"]) == (None, 4)
    assert [remark["code"] for remark in detail["remarks"]] == ["ledger_backwards"]


async def test_a_ledger_that_is_none_is_said_and_left_out(door: Door) -> None:
    me = str(uuid4())
    bad = batch([door.event()], instance_id=me, seq=1, ledger={"events": {"captured": -1}})
    counts(await door.events(bad, user_agent=GH))
    detail = await get(door, f"/instances/{me}")
    assert (detail["ledger"], [remark["code"] for remark in detail["remarks"]]) == (
        None,
        ["ledger_unreadable"],
    )


async def test_released_clients_are_counted_and_the_view_says_why_no_more(door: Door) -> None:
    body = batch([door.event(), door.event(ip_address="192.0.2.7")], [door.metric()])
    for _ in range(3):
        counts(await door.events(body, user_agent=G3, x_agent_install_id=INSTALL))
    counts(await door.events(batch([door.event(user_agent="x")], batch_id="old"), user_agent=G1))
    found = await delivery(door)
    assert found["exact"] == {"instances": 0, "events": NOTHING, "metrics": NOTHING, "unaccounted": []}
    old, new = found["without_ledger"]
    assert (old["generation"], old["resend_factor"], old["events"]["stored"]) == ("G1", 1, 1)
    assert new == {
        "generation": "G3", "installations": 1, "batches": 3, "replays": 2, "resend_factor": 3,
        "events": {"stored": 2, "rolled_up": 0, "duplicates": 4, "rejected": 0},
        "metrics": {"stored": 1, "rolled_up": 0, "duplicates": 2, "rejected": 0},
    }  # fmt: skip
    assert "cannot be known" in found["why"]


async def test_two_servers_take_one_process_and_every_count_arrives(
    door: Door, clock: SetClock, database_url: str, tmp_path: Path
) -> None:
    """Batches, the same ones twice, statuses and readers at once on two applications over one database."""
    me, order = str(uuid4()), random.Random(7)
    headers = {"x-api-key": door.key, "user-agent": GH, "x-guardhouse-instance": me}
    async with (
        opened(database_url, tmp_path / "other", clock=clock) as other,
        api.client_of(other) as second,
    ):
        path = f"/api/v1/projects/{await _made(door)}/instances"

        async def send(number: int) -> None:
            captured = 5 * (number + 1)
            body = batch(
                [door.event(idempotency_key=f"{number}-{n}") for n in range(5)],
                batch_id=str(number),
                seq=number + 1,
                ledger=ledger(captured=captured, pending={"spool": captured}),
            )
            for client in order.sample([door.client, second], 2):
                answer = await client.post("/api/v1/events", json=body, headers=headers)
                assert answer.status_code == 200, answer.text
                seen = await client.get(path, headers=headers)
                assert seen.status_code == 200, seen.text
                told = await client.post("/api/v1/status", json=status(door.now), headers=headers)
                assert told.json()["instance_id"] == me, told.text

        await asyncio.gather(*(send(number) for number in range(12)))
    detail = await get(door, f"/instances/{me}")
    assert (detail["batches"], detail["replays"]) == (24, 12)
    assert detail["events"] == {"stored": 60, "rolled_up": 0, "duplicates": 60, "rejected": 0}
    assert detail["ledger"]["seq"] == 12
    assert (await delivery(door))["exact"]["events"] == NOTHING | {"captured": 60, "stored": 60}


async def _made(door: Door) -> object:
    counts(await door.events(batch([door.event(idempotency_key="made")], batch_id="made"), user_agent=G3))
    return await project_id(door)


async def test_names_without_end_make_no_instances_without_end(door: Door, monkeypatch: Any) -> None:
    monkeypatch.setattr(fold, "MAX_INSTANCES", 3)
    for number in range(5):
        body = batch(
            [door.event(idempotency_key=str(number))], batch_id=str(number), instance_id=str(uuid4())
        )
        assert counts(await door.events(body)) == (1, 0, 0, 0)
    assert len(await shown(door)) == 3
    assert (await tell(door, status(door.now), x_guardhouse_instance=str(uuid4()))).json()[
        "instance_id"
    ] is None
