"""What time makes of rules: they begin, end, are renewed and released, each as a revision of its own, each once."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from guardhouse.agents.instances.jobs import fold_contacts
from guardhouse.agents.rules import jobs
from guardhouse.foundation.clock import SetClock, rfc3339
from guardhouse.foundation.jobs import ClaimedJob, JobContext
from guardhouse.foundation.transaction import system_transaction
from server.tests.agents.rules import make as rules
from server.tests.agents.rules.make import Shop
from server.tests.components import api
from server.tests.components.opened import opened

NET = "203.0.113.7"


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def shop(database_url: str, tmp_path: Path, clock: SetClock) -> AsyncIterator[Shop]:
    async with opened(database_url, tmp_path, clock=clock) as resources, api.client_of(resources) as client:
        yield await rules.shop(client, resources)


def context(shop: Shop) -> JobContext:
    return JobContext(
        shop.resources, ClaimedJob(1, "x", "null", None, "platform", 1, 0, shop.resources.clock.now(), "")
    )


async def pass_time(shop: Shop) -> None:
    """Look for what is due and do it, as a worker does."""
    await jobs.find_due_rules.run(context(shop))
    async with system_transaction(shop.resources.database) as tx:
        queued = await tx.fetch(
            "DELETE FROM jobs WHERE name = 'agents.follow_rules' RETURNING payload::text, tenant_id"
        )
    for payload, tenant_id in queued:
        assert tenant_id == shop.tenant.id
        job = ClaimedJob(1, "x", payload, shop.tenant, "t", 1, 0, shop.resources.clock.now(), "")
        await jobs.follow_rules.run(JobContext(shop.resources, job))


async def causes(shop: Shop) -> list[str]:
    listed = await shop.client.get(f"{shop.url}/revisions", headers=shop.admin)
    return [row["cause"] for row in reversed(listed.json()["data"])]


async def test_a_ban_with_an_end_is_lifted_and_then_forgotten(shop: Shop, clock: SetClock) -> None:
    ends = clock.now() + timedelta(minutes=20)
    await shop.add(value={"net": NET}, expires_at=rfc3339(ends))
    first = await shop.document()
    assert (first["expires_at"], first["bans"]) == (rfc3339(ends), [{"net": NET, "until": rfc3339(ends)}])
    clock.move(20 * 60 - 1)
    await pass_time(shop)
    assert (await shop.document())["version"] == 1
    clock.move(1)
    await pass_time(shop)
    await pass_time(shop)
    second = await shop.document()
    assert (second["version"], second["ip_blacklist"], second["ip_whitelist"]) == (2, [], [NET])
    clock.move(600)
    await pass_time(shop)
    third = await shop.document()
    assert (third["version"], third["ip_blacklist"], third["ip_whitelist"]) == (3, [], [])
    assert third["expires_at"] is None
    clock.move(86_400)
    await pass_time(shop)
    assert await causes(shop) == ["change", "expiry", "expiry"]


async def test_an_open_ban_is_told_again_before_apps_forget_it(shop: Shop, clock: SetClock) -> None:
    await shop.add(value={"net": NET})
    for _ in range(3):
        clock.move(1800)
        await pass_time(shop)
    document = await shop.document()
    assert (document["version"], document["ip_blacklist"], document["ip_ban_duration"]) == (4, [NET], 3600)
    assert document["timestamp"] == rfc3339(clock.now())
    assert await causes(shop) == ["change", "renewal", "renewal", "renewal"]
    assert len(await shop.told("rules.published")) == 1  # a renewal changes nothing for anyone


async def test_a_rule_begins_when_it_was_told_to(shop: Shop, clock: SetClock) -> None:
    starts = clock.now() + timedelta(hours=1)
    made = await shop.add("emergency", value={"message": "closed"}, starts_at=rfc3339(starts))
    assert (made["state"], (await shop.document())["emergency_mode"]) == ("scheduled", False)
    clock.move(3600)
    await pass_time(shop)
    document = await shop.document()
    assert (document["emergency_mode"], document["message"], document["version"]) == (True, "closed", 2)
    assert await causes(shop) == ["change", "start"]


async def test_a_ban_for_others_stands_while_one_of_two_ends(shop: Shop, clock: SetClock) -> None:
    await shop.add(value={"net": NET})
    await shop.add(value={"net": NET}, expires_at=rfc3339(clock.now() + timedelta(seconds=60)))
    clock.move(60)
    await pass_time(shop)
    document = await shop.document()
    assert (document["ip_blacklist"], document["ip_whitelist"]) == ([NET], [])


async def test_that_everyone_has_a_revision_is_told_once(shop: Shop, clock: SetClock) -> None:
    headers = {"X_Guardhouse_Instance": str(uuid4()), "User_Agent": "guardhouse-agent/0.1.0"}
    await shop.poll(**headers)
    await shop.add(value={"net": NET})

    async def adoption() -> dict[str, int]:
        await fold_contacts.run(context(shop))
        await jobs.tell_adopted_rules.run(context(shop))
        answer = await shop.client.get(f"{shop.url}/revisions/1", headers=shop.admin)
        found: dict[str, int] = answer.json()["adoption"]
        return found

    assert await adoption() == {"served": 0, "applied": 0, "failed": 0, "waiting": 1, "not_polling": 0}
    document = await shop.document(**headers)
    assert await adoption() == {"served": 1, "applied": 0, "failed": 0, "waiting": 0, "not_polling": 0}
    assert await shop.told("rules.adopted") == []
    clock.move(30)
    event = {
        "timestamp": rfc3339(clock.now()),
        "event_type": "dynamic_rule_applied",
        "metadata": {"rule_id": document["rule_id"], "version": document["version"]},
    }
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = await shop.client.post("/api/v1/events", json={"events": [event]}, headers=shop.agent | named)
    assert sent.json()["accepted"] == 1, sent.text
    assert await adoption() == {"served": 1, "applied": 1, "failed": 0, "waiting": 0, "not_polling": 0}
    await adoption()
    (told,) = await shop.told("rules.adopted")
    assert (told["revision"], told["instances"], told["seconds"]) == (1, 1, 30)

    await shop.add(value={"net": "198.51.100.1"})
    await shop.poll(**headers)
    clock.move(601)
    await fold_contacts.run(context(shop))
    detail = await shop.client.get(f"{shop.url}/revisions/2", headers=shop.admin)
    assert detail.json()["adoption"] == {
        "served": 1, "applied": 0, "failed": 1, "waiting": 0, "not_polling": 0,
    }  # fmt: skip
    clock.move(900)
    detail = await shop.client.get(f"{shop.url}/revisions/2", headers=shop.admin)
    assert detail.json()["adoption"]["not_polling"] == 1


async def test_documents_of_a_month_ago_are_forgotten_and_made_again(shop: Shop, clock: SetClock) -> None:
    await shop.add("block_cloud", value={"provider": "AWS"})
    await shop.add("block_cloud", value={"provider": "GCP"})
    clock.move(31 * 86_400)
    await jobs.prune_rule_documents.run(context(shop))
    shown = [
        len((await shop.client.get(f"{shop.url}/revisions/{n}", headers=shop.admin)).json()["documents"])
        for n in (1, 2)
    ]
    assert shown == [0, 1]
