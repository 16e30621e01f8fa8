"""A preview says what a change would come to, group by group, and publishes nothing."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from guardhouse.agents.instances.jobs import fold_contacts
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.jobs import ClaimedJob, JobContext
from guardhouse.foundation.resources import Resources
from server.tests.agents.rules import make as rules
from server.tests.agents.rules.make import Shop


@pytest.fixture
async def shop(client: httpx.AsyncClient, resources: Resources) -> Shop:
    return await rules.shop(client, resources)


def add(kind: str, value: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"op": "add", "rule": {"kind": kind, "value": value} | members}


async def preview(shop: Shop, *operations: dict[str, Any], **body: Any) -> httpx.Response:
    asked = {"operations": operations} | body
    return await shop.client.post(f"{shop.url}:preview", json=asked, headers=shop.admin)


async def test_documents_before_and_after_for_each_group(shop: Shop, resources: Resources) -> None:
    instance = str(uuid4())
    await shop.poll(X_Guardhouse_Instance=instance, User_Agent="guardhouse-agent/0.1.0")
    now = resources.clock.now()
    await fold_contacts.run(
        JobContext(resources, ClaimedJob(1, "x", "null", None, "platform", 1, 0, now, ""))
    )
    nothing = await preview(shop, add("block_cloud", {"provider": "AWS"}))
    assert [group["before"] for group in nothing.json()["documents"]] == [None]
    await shop.add(value={"net": "203.0.113.7"})
    answer = await preview(
        shop,
        add("ban_net", {"net": "198.51.100.1"}, target={"instance": instance}),
        add("block_cloud", {"provider": "AWS"}),
    )
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["revision"], len(told["added"]), told["ended"]) == (2, 2, [])
    groups = {group["instances"]: group for group in told["documents"]}
    assert groups.keys() == {0, 1}
    assert groups[0]["after"]["ip_blacklist"] == ["203.0.113.7"]
    assert groups[1]["before"]["ip_blacklist"] == ["203.0.113.7"]
    assert groups[1]["after"]["ip_blacklist"] == ["203.0.113.7", "198.51.100.1"]
    assert all(group["after"]["blocked_cloud_providers"] == ["AWS"] for group in groups.values())
    assert (await shop.document())["version"] == 1
    listed = await shop.client.get(shop.url, headers=shop.admin)
    assert len(listed.json()["data"]) == 1


@pytest.mark.parametrize(
    ("operation", "codes"),
    [
        (add("block_user_agent", {"pattern": "sqlmap"}), {"replaces_app_setting"}),
        (add("limit_endpoint", {"endpoint": "/x", "requests": 1, "window_s": 1}), {"replaces_app_setting"}),
        (add("block_pattern", {"pattern": "etc/passwd"}), {"not_revocable"}),
        (add("release_net", {"net": "203.0.113.7"}), {"lifts_app_bans"}),
        (add("ban_net", {"net": "203.0.113.7"}), set()),
        (add("ban_net", {"net": "203.0.113.7"}, target={"service": "web"}), {"matches_no_instance"}),
    ],
)
async def test_what_should_be_known_beforehand(
    shop: Shop, operation: dict[str, Any], codes: set[str]
) -> None:
    answer = await preview(shop, operation)
    assert {warning["code"] for warning in answer.json()["warnings"]} == codes, answer.text


async def test_a_baseline_is_merged_and_takes_the_warning_away(shop: Shop) -> None:
    project = f"/api/v1/projects/{shop.project.id}"
    version = (await shop.client.get(project, headers=shop.admin)).headers["etag"]
    known = {"settings": {"baseline": {"blocked_user_agents": ["masscan"]}}}
    changed = await shop.client.patch(project, json=known, headers=shop.admin | {"If-Match": version})
    assert changed.status_code == 200, changed.text
    told = (await preview(shop, add("block_user_agent", {"pattern": "sqlmap"}))).json()
    assert told["warnings"] == []
    (group,) = told["documents"]
    assert group["after"]["blocked_user_agents"] == ["masscan", "sqlmap"]


async def test_bans_beyond_what_a_document_holds_are_named(shop: Shop) -> None:
    full = [add("ban_net", {"net": f"203.{n // 250}.{n % 250}.1"}) for n in range(500)]
    for part in range(2):
        more = [add("ban_net", {"net": f"204.{n // 250}.{n % 250}.{part}"}) for n in range(500)]
        await shop.apply(full if part == 0 else more)
    told = (await preview(shop, add("ban_net", {"net": "198.51.100.7"}, priority=0))).json()
    assert [warning["code"] for warning in told["warnings"]] == ["not_served"]
    assert told["documents"][0]["not_served"] == ["198.51.100.7"]


async def test_what_applying_refuses_a_preview_refuses(shop: Shop) -> None:
    answer = await preview(shop, add("ban_net", {"net": "127.0.0.1"}))
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "own_address")
    forced = await preview(shop, add("ban_net", {"net": "127.0.0.1"}), force=True, reason="drill")
    assert forced.status_code == 200, forced.text


async def test_what_would_have_been_hit(shop: Shop, resources: Resources) -> None:
    now = rfc3339(resources.clock.now())
    events = [
        {
            "timestamp": now,
            "event_type": kind,
            "ip_address": ip,
            "endpoint": "/items/17",
            "idempotency_key": f"k{n}",
        }
        for n, (kind, ip) in enumerate(
            [
                ("penetration_attempt", "203.0.113.7"),
                ("rate_limited", "203.0.113.8"),
                ("rate_limited", "192.0.2.1"),
            ]
        )
    ]
    sent = await shop.client.post("/api/v1/events", json={"events": events}, headers=shop.agent)
    assert sent.json()["accepted"] == 3, sent.text
    cloud = add("block_cloud", {"provider": "AWS"})
    told = (await preview(shop, add("ban_net", {"net": "203.0.113.0/24"}), cloud, hours=1)).json()["effect"]
    assert (told["events"], told["by_class"]) == (2, {"attack": 1, "policy": 1})
    assert (told["attackers"], told["harmless"], told["unmeasured"]) == (1, 1, ["block_cloud"])
    assert told["by_endpoint"] == [{"endpoint": "/items/{n}", "events": 2}]
    assert [row["address"] for row in told["addresses"]] == ["203.0.113.7", "203.0.113.8"]
