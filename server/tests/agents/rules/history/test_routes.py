"""Revisions: several changes as one, the way back, what each changed, and what one process has."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from guardhouse.foundation.resources import Resources
from server.tests.agents.rules import make as rules
from server.tests.agents.rules.make import Shop

BAN = {"op": "add", "rule": {"kind": "ban_net", "value": {"net": "203.0.113.7"}}}
LIMIT_RULE: dict[str, Any] = {"kind": "limit_global", "value": {"requests": 10, "window_s": 60}}
LIMIT = {"op": "add", "rule": LIMIT_RULE}


@pytest.fixture
async def shop(client: httpx.AsyncClient, resources: Resources) -> Shop:
    return await rules.shop(client, resources)


async def get(shop: Shop, path: str) -> dict[str, Any]:
    answer = await shop.client.get(f"{shop.url}{path}", headers=shop.admin)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def restore(shop: Shop, revision: int, **body: Any) -> httpx.Response:
    url = f"{shop.url}/revisions/{revision}/restore"
    return await shop.client.post(url, json=body, headers=shop.admin)


async def test_operations_are_applied_together_as_one_revision(shop: Shop) -> None:
    made = await shop.apply([BAN, LIMIT], reason="flood")
    assert made.headers["etag"] == '"1"'
    added = made.json()["added"]
    assert [rule["kind"] for rule in added] == ["ban_net", "limit_global"]
    ban, limit = (rule["id"] for rule in added)
    second = await shop.apply(
        [
            {"op": "remove", "id": ban},
            {"op": "change", "id": limit, "change": {"value": {"requests": 5, "window_s": 60}}},
            {"op": "add", "rule": {"kind": "block_cloud", "value": {"provider": "AWS"}}},
        ]
    )
    assert second.json()["revision"]["revision"] == 2
    assert {rule["id"] for rule in second.json()["ended"]} == {ban, limit}
    document = await shop.document()
    assert (document["global_rate_limit"], document["blocked_cloud_providers"]) == (5, ["AWS"])
    detail = await get(shop, "/revisions/2")
    assert detail["author"].startswith("key:")
    kinds = {
        (change["before"] and change["before"]["kind"], change["after"] and change["after"]["kind"])
        for change in detail["changes"]
    }
    assert kinds == {
        ("ban_net", None), ("limit_global", "limit_global"), (None, "block_cloud"), (None, "release_net"),
    }  # fmt: skip
    (kept,) = detail["documents"]
    assert kept["document"] == document
    listed = await get(shop, "/revisions?limit=1")
    assert [row["revision"] for row in listed["data"]] == [2]
    assert listed["pagination"]["has_more"]


@pytest.mark.parametrize(
    ("operations", "status", "code"),
    [
        ([BAN, {"op": "remove", "id": str(uuid4())}], 404, "not_found"),
        ([BAN, {"op": "change", "id": str(uuid4()), "change": {}}], 404, "not_found"),
        ([BAN, {"op": "add", "rule": {"kind": "ban_net", "value": {"net": "x"}}}], 422, "app_rule_invalid"),
        ([BAN, {"op": "drop"}], 422, "validation_failed"),
        ([], 422, "validation_failed"),
    ],
)
async def test_all_operations_or_none(
    shop: Shop, operations: list[dict[str, Any]], status: int, code: str
) -> None:
    answer = await shop.client.post(f"{shop.url}:apply", json={"operations": operations}, headers=shop.admin)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    if code == "app_rule_invalid":
        assert answer.json()["errors"][0]["pointer"] == "/operations/1/rule/value/net"
    assert await shop.document() == {}


async def test_operations_may_insist_on_where_they_start_from(shop: Shop) -> None:
    await shop.apply([BAN])
    body = {"operations": [LIMIT]}
    old = await shop.client.post(f"{shop.url}:apply", json=body, headers=shop.admin | {"If-Match": '"0"'})
    assert (old.status_code, old.json()["current"]) == (412, '"1"')
    good = await shop.client.post(f"{shop.url}:apply", json=body, headers=shop.admin | {"If-Match": '"1"'})
    assert good.status_code == 200, good.text


async def test_a_revision_is_gone_back_to_as_a_new_one(shop: Shop) -> None:
    first = (await shop.apply([BAN, LIMIT])).json()["added"]
    await shop.apply([{"op": "remove", "id": first[0]["id"]}])
    await shop.apply([{"op": "change", "id": first[1]["id"], "change": {"priority": 9}}])
    back = await restore(shop, 1, reason="too early")
    assert back.status_code == 200, back.text
    assert (back.json()["revision"]["revision"], back.json()["revision"]["restored"]) == (4, 1)
    document = await shop.document()
    assert (document["version"], document["ip_blacklist"], document["ip_whitelist"]) == (
        4,
        ["203.0.113.7"],
        [],
    )
    listed = (await shop.client.get(shop.url, headers=shop.admin)).json()["data"]
    shown = {rule["id"]: rule for rule in listed if rule["source"] == "manual"}
    assert shown.keys() == {rule["id"] for rule in first}
    assert shown[first[1]["id"]]["priority"] == first[1]["priority"]
    told = await shop.told("rules.rolled_back")
    assert [(data["restored"], data["revision"], data["cause"]) for data in told] == [(1, 4, "restore")]
    again = await restore(shop, 4)
    assert again.json()["revision"]["revision"] == 4  # nothing is different: nothing is published
    assert (await restore(shop, 99)).status_code == 404


async def test_what_is_guarded_by_now_comes_back_by_force_only(shop: Shop) -> None:
    made = (await shop.apply([BAN])).json()["added"][0]
    await shop.apply([{"op": "remove", "id": made["id"]}])
    project = f"/api/v1/projects/{shop.project.id}"
    version = (await shop.client.get(project, headers=shop.admin)).headers["etag"]
    guarded = {"settings": {"never_ban": ["203.0.113.0/24"]}}
    answer = await shop.client.patch(project, json=guarded, headers=shop.admin | {"If-Match": version})
    assert answer.status_code == 200, answer.text
    refused = await restore(shop, 1)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "never_ban")
    assert (await restore(shop, 1, force=True, reason="sure")).status_code == 200


async def test_the_rules_of_one_process(shop: Shop) -> None:
    instance = str(uuid4())
    headers = {"X_Guardhouse_Instance": instance, "User_Agent": "guardhouse-agent/0.1.0"}
    await shop.poll(**headers)
    await shop.apply([BAN, {"op": "add", "rule": LIMIT_RULE | {"target": {"instance": instance}}}])
    shown = await get(shop, f"/effective?instance={instance}")
    assert (shown["served_revision"], shown["served"], shown["applied_revision"]) == (0, None, None)
    assert shown["current"]["document"]["global_rate_limit"] == 10
    assert shown["current"]["targets"] == [
        {**dict.fromkeys(shown["current"]["targets"][0]), "instance": instance}
    ]
    given = await shop.document(**headers)
    await shop.apply([BAN])
    shown = await get(shop, f"/effective?instance={instance}")
    assert (shown["served_revision"], shown["served"]) == (1, given)
    assert shown["current"]["document"]["version"] == 2
    plain = await get(shop, "/effective")
    assert (plain["instance"], plain["current"]["targets"]) == (None, [])
    assert plain["current"]["document"]["global_rate_limit"] is None
    nobody = await shop.client.get(f"{shop.url}/effective?instance={uuid4()}", headers=shop.admin)
    assert nobody.status_code == 404


async def test_an_archived_project_keeps_its_rules_as_they_are(shop: Shop) -> None:
    made = (await shop.apply([BAN])).json()["added"][0]
    project = f"/api/v1/projects/{shop.project.id}"
    version = (await shop.client.get(project, headers=shop.admin)).headers["etag"]
    gone = await shop.client.delete(project, headers=shop.admin | {"If-Match": version})
    assert gone.is_success, gone.text
    for answer in (
        await shop.post("ban_net", value={"net": "203.0.113.9"}),
        await restore(shop, 1),
        await shop.client.delete(f"{shop.url}/{made['id']}", headers=shop.admin | {"If-Match": '"1"'}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict"), answer.text
    assert (await get(shop, "/revisions/1"))["revision"] == 1
