"""Rules of an app from the first one to the clear document, as people change them and agents fetch them."""

from typing import Any

import httpx
import pytest

from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from server.tests.agents.rules import make as rules
from server.tests.agents.rules.make import Shop

BAN = {"net": "203.0.113.7"}


@pytest.fixture
async def shop(client: httpx.AsyncClient, resources: Resources) -> Shop:
    return await rules.shop(client, resources)


async def test_rules_are_made_changed_and_taken_out_each_as_one_revision(shop: Shop) -> None:
    assert await shop.document() == {}
    made = await shop.add(value=BAN, reason="scanner")
    assert (made["revision"], made["state"], made["source"]) == (1, "active", "manual")
    first = await shop.document()
    assert (first["version"], first["ip_blacklist"], first["ttl"]) == (1, ["203.0.113.7"], 60)
    assert first["rule_id"].startswith("gh-shop-")
    assert first["bans"] == [{"net": "203.0.113.7", "until": None}]

    url = f"{shop.url}/{made['id']}"
    shown = await shop.client.get(url, headers=shop.admin)
    assert (shown.json(), shown.headers["etag"]) == (made, '"1"')
    change = {"value": {"net": "198.51.100.0/24"}}
    changed = await shop.client.patch(url, json=change, headers=shop.admin | {"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"'), changed.text
    second = await shop.document()
    assert (second["version"], second["ip_blacklist"]) == (2, ["198.51.100.0/24"])
    assert second["ip_whitelist"] == ["203.0.113.7"]  # its ban is lifted in the app

    gone = await shop.client.delete(url, headers=shop.admin | {"If-Match": '"2"'})
    assert gone.status_code == 204, gone.text
    last = await shop.document()
    assert (last["version"], last["ip_blacklist"]) == (3, [])
    assert last["ip_whitelist"] == ["203.0.113.7", "198.51.100.0/24"]
    assert len(last) == len(first)
    listed = await shop.client.get(shop.url, headers=shop.admin)
    assert [(rule["kind"], rule["source"]) for rule in listed.json()["data"]] == [("release_net", "auto")] * 2


async def test_a_change_needs_the_version_that_it_is_of(shop: Shop) -> None:
    made = await shop.add(value=BAN)
    url = f"{shop.url}/{made['id']}"
    for method in ("PATCH", "DELETE"):
        body = {"json": {"priority": 1}} if method == "PATCH" else {}
        absent = await shop.client.request(method, url, headers=shop.admin, **body)  # type: ignore[arg-type]
        assert (absent.status_code, absent.json()["code"]) == (428, "precondition_required")
        old = await shop.client.request(method, url, headers=shop.admin | {"If-Match": '"7"'}, **body)  # type: ignore[arg-type]
        assert (old.status_code, old.json()["code"], old.json()["current"]) == (
            412,
            "precondition_failed",
            '"1"',
        )
    same = await shop.client.patch(url, json={"priority": 500}, headers=shop.admin | {"If-Match": '"1"'})
    assert (same.status_code, same.json()["revision"]) == (
        200,
        1,
    )  # nothing is different: nothing is published
    assert (await shop.document())["version"] == 1


async def test_only_who_says_what_it_has_is_told_that_it_has_it(shop: Shop) -> None:
    nothing = await shop.poll()
    assert (nothing.json(), nothing.headers["etag"][:3]) == ({}, '"0-')
    assert (await shop.poll(If_None_Match=nothing.headers["etag"])).status_code == 304
    await shop.add(value=BAN)
    given = await shop.poll(If_None_Match=nothing.headers["etag"])
    assert given.status_code == 200
    tag = given.headers["etag"]
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        answer = await shop.poll(If_None_Match=known)
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    assert (await shop.poll()).content == given.content
    assert given.headers["guardhouse-version"] == "1"


@pytest.mark.parametrize(
    ("kind", "value", "pointer", "code"),
    [
        ("ban_net", {"net": "10.0.0.0/33"}, "/value/net", "network"),
        ("ban_net", {"net": "203.0.113.7/24"}, "/value/net", "network"),
        ("ban_net", {"net": 7}, "/value/net", "network"),
        ("ban_net", {}, "/value/net", "network"),
        ("ban_net", {"net": "203.0.113.7", "x": 1}, "/value/x", "unknown"),
        ("ban_net", {"net": "0.0.0.0/0"}, "/value/net", "too_wide"),
        ("ban_net", {"net": "::/0"}, "/value/net", "too_wide"),
        ("allow_net", {"net": "0.0.0.0/1"}, "/value/net", "too_wide"),
        ("ban_net", {"net": "127.0.0.1"}, "/value/net", "own_address"),
        ("ban_net", {"net": "192.168.0.0/16"}, "/value/net", "private_network"),
        ("ban_net", {"net": "fc00::/16"}, "/value/net", "private_network"),
        ("ban_net", {"net": "::ffff:192.168.1.1"}, "/value/net", "private_network"),
        ("block_country", {"country": "UK1"}, "/value/country", "country"),
        ("allow_countries", {"countries": ["DE", "UK"]}, "/value/countries/1", "country"),
        ("allow_countries", {"countries": []}, "/value/countries", "list"),
        ("block_cloud", {"provider": "Hetzner"}, "/value/provider", "provider"),
        ("block_user_agent", {"pattern": "(a+)+$"}, "/value/pattern", "pattern"),
        ("block_pattern", {"pattern": "("}, "/value/pattern", "pattern"),
        ("block_pattern", {"pattern": ""}, "/value/pattern", "text"),
        ("limit_global", {"requests": 0, "window_s": 60}, "/value/requests", "limit"),
        ("limit_global", {"requests": True, "window_s": 60}, "/value/requests", "limit"),
        (
            "limit_endpoint",
            {"endpoint": "login", "requests": 1, "window_s": 1},
            "/value/endpoint",
            "endpoint",
        ),
        ("toggle", {"name": "enable_https", "set": True}, "/value/name", "switch"),
        ("toggle", {"name": "enable_ip_banning", "set": 1}, "/value/set", "boolean"),
        ("toggle", {"name": "auto_ban_threshold", "set": 0}, "/value/set", "limit"),
        ("emergency", {"whitelist": ["10.0.0.0/33"]}, "/value/whitelist/0", "network"),
        ("emergency", {"whitelist": "all"}, "/value/whitelist", "list"),
    ],
)
async def test_a_bad_value_is_refused_with_its_place_and_the_way_out(
    shop: Shop, kind: str, value: dict[str, Any], pointer: str, code: str
) -> None:
    answer = await shop.post(kind, value=value)
    assert (answer.status_code, answer.json()["code"]) == (422, "app_rule_invalid"), answer.text
    found = [(error["pointer"], error["code"]) for error in answer.json()["errors"]]
    assert (pointer, code) in found
    assert all(error["remediation"] for error in answer.json()["errors"])
    assert await shop.document() == {}


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"starts_at": "2036-01-02T00:00:00Z", "expires_at": "2036-01-01T00:00:00Z"}, "/expires_at"),
        ({"target": {"agent_version": "three"}}, "/target/agent_version"),
    ],
)
async def test_times_and_targets_are_checked(shop: Shop, members: dict[str, Any], pointer: str) -> None:
    answer = await shop.post("ban_net", value=BAN, **members)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer), answer.text


async def test_force_with_a_reason_bans_a_guarded_address_and_the_audit_log_says_so(shop: Shop) -> None:
    value = {"net": "127.0.0.0/8"}
    unreasoned = await shop.post("ban_net", value=value, force=True)
    assert (unreasoned.status_code, unreasoned.json()["errors"][0]["pointer"]) == (422, "/reason")
    await shop.add(value=value, force=True, reason="drill")
    assert (await shop.document())["ip_blacklist"] == ["127.0.0.0/8"]
    logged = await shop.client.get("/api/v1/audit?action=app_rules.publish", headers=shop.admin)
    (entry,) = logged.json()["data"]
    assert (entry["after"]["forced"], entry["reason"], entry["after"]["revision"]) == (True, "drill", 1)
    assert entry["after"]["rules"][0]["value"] == value


async def test_a_target_reaches_the_agents_that_it_names(shop: Shop) -> None:
    await shop.add(value=BAN)
    await shop.add(value={"net": "198.51.100.1"}, target={"installation": "i-1", "agent_version": ">=3,<3.3"})
    plain = await shop.document(User_Agent="guard-agent/3.2.4")
    meant = await shop.document(User_Agent="guard-agent/3.2.4", X_Agent_Install_Id="i-1")
    older = await shop.document(User_Agent="FastAPI-Guard-Agent/1.1.0", X_Agent_Install_Id="i-1")
    assert plain["ip_blacklist"] == older["ip_blacklist"] == ["203.0.113.7"]
    assert meant["ip_blacklist"] == ["203.0.113.7", "198.51.100.1"]
    assert plain["rule_id"] == older["rule_id"] != meant["rule_id"]
    assert plain["version"] == meant["version"] == 2


async def test_a_publication_is_told(shop: Shop) -> None:
    await shop.add(value=BAN)
    async with system_transaction(shop.resources.database) as tx:
        rows = await tx.fetch(
            "SELECT kind, subject, subject_seq, project_id FROM notices WHERE kind LIKE 'rules.%'"
        )
    project = shop.project.id
    assert [tuple(row) for row in rows] == [("rules.published", f"rules:{project}", 1, project)]


async def test_a_key_of_another_project_sees_and_changes_nothing(shop: Shop) -> None:
    made = await shop.add(value=BAN)
    other = await shop.poll(X_Project_ID="elsewhere")
    assert (other.status_code, other.json()["code"]) == (403, "project_mismatch")
    answer = await shop.client.get(
        f"{shop.url}/{made['id']}".replace(str(shop.project.id), made["id"]), headers=shop.admin
    )
    assert answer.status_code == 404
