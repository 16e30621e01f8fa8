"""Projects over HTTP: their life, their names, who reaches them."""

import asyncio
from typing import Any

import httpx
import pytest

from guardhouse.foundation.resources import Resources
from server.tests.identity import make

EMPTY = {
    "encryption": "allowed",
    "signature": "if_present",
    "keep_noise": False,
    "retention_days": None,
    "baseline": None,
    "never_ban": [],
}


@pytest.fixture
async def admin(resources: Resources) -> dict[str, str]:
    _, text = await make.key(resources, await make.tenant(resources))
    return make.bearing(text)


async def made(client: httpx.AsyncClient, headers: dict[str, str], **body: Any) -> dict[str, Any]:
    answer = await client.post("/api/v1/projects", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_the_life_of_a_project(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    project = await made(client, admin, slug="shop", external_ids=["proj_demo", "proj_demo", "Ä shop"])
    assert (project["name"], project["state"], project["settings"]) == ("shop", "active", EMPTY)
    assert project["external_ids"] == ["proj_demo", "Ä shop"]
    url = f"/api/v1/projects/{project['id']}"
    shown = await client.get(url, headers=admin)
    assert shown.json() == project
    change = {
        "name": "Shop",
        "settings": {
            "encryption": "required",
            "never_ban": ["192.0.2.1", "2001:db8::/32"],
            "baseline": {
                "ip_blacklist": ["203.0.113.9"],
                "blocked_countries": ["KP"],
                "endpoint_rate_limits": {"/login": [5, 60]},
            },
        },
    }
    changed = await client.patch(url, json=change, headers=admin | {"If-Match": shown.headers["ETag"]})
    assert changed.status_code == 200, changed.text
    settings = changed.json()["settings"]
    assert settings["never_ban"] == ["192.0.2.1/32", "2001:db8::/32"]
    assert settings["baseline"]["ip_blacklist"] == ["203.0.113.9/32"]
    assert settings["baseline"]["endpoint_rate_limits"] == {"/login": [5, 60]}
    assert settings["baseline"]["suspicious_patterns"] == []
    late = await client.patch(url, json={"name": "x"}, headers=admin | {"If-Match": shown.headers["ETag"]})
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    partly = await client.patch(url, json={"settings": {"keep_noise": True}}, headers=admin)
    assert partly.json()["settings"] == settings | {"keep_noise": True}

    assert [(await client.delete(url, headers=admin)).status_code for _ in range(2)] == [204, 204]
    assert (await client.get("/api/v1/projects", headers=admin)).json()["data"] == []
    archived = (await client.get("/api/v1/projects?state=archived", headers=admin)).json()["data"]
    assert [p["id"] for p in archived] == [project["id"]]
    refused = await client.patch(url, json={"name": "y"}, headers=admin)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    restored = (await client.post(f"{url}/restore", headers=admin)).json()
    assert (restored["state"], restored["archived_at"]) == ("active", None)
    log = (await client.get("/api/v1/audit", headers=admin)).json()["data"]
    told = [entry["action"] for entry in log if entry["target"] == f"project:{project['id']}"]
    assert told[::-1] == [
        "project.create",
        "project.update",
        "project.update",
        "project.archive",
        "project.restore",
    ]


async def test_no_two_projects_answer_to_one_name(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    first = await made(client, admin, slug="shop", external_ids=["proj_1"])
    second = await made(client, admin, slug="other")
    for slug, external_ids in (
        ("shop", []),
        ("new", ["shop"]),
        ("new", ["proj_1"]),
        ("new", [first["id"]]),
    ):
        body = {"slug": slug, "external_ids": external_ids}
        answer = await client.post("/api/v1/projects", json=body, headers=admin)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict"), body
    url = f"/api/v1/projects/{second['id']}"
    for taken in ("shop", "proj_1"):
        answer = await client.patch(url, json={"external_ids": [taken]}, headers=admin)
        assert answer.status_code == 409
    await client.delete(f"/api/v1/projects/{first['id']}", headers=admin)
    assert (await client.post("/api/v1/projects", json={"slug": "shop"}, headers=admin)).status_code == 409


async def test_of_projects_made_at_once_under_one_name_one_is_made(
    client: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    answers = await asyncio.gather(
        *(
            client.post("/api/v1/projects", json={"slug": f"p{n}", "external_ids": ["same"]}, headers=admin)
            for n in range(5)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"slug": "Shop"}, "/slug"),
        ({"slug": "-shop"}, "/slug"),
        ({"slug": "s" * 64}, "/slug"),
        ({"slug": "s", "external_ids": [" a"]}, "/external_ids/0"),
        ({"slug": "s", "external_ids": ["a" * 129]}, "/external_ids/0"),
        ({"slug": "s", "settings": {"encryption": "maybe"}}, "/settings/encryption"),
        ({"slug": "s", "settings": {"encryption": None}}, "/settings/encryption"),
        ({"slug": "s", "settings": {"retention_days": 0}}, "/settings/retention_days"),
        ({"slug": "s", "settings": {"never_ban": ["10.0.0.0/33"]}}, "/settings/never_ban/0"),
        ({"slug": "s", "settings": {"never_ban": ["10.0.0.1/8"]}}, "/settings/never_ban/0"),
        ({"slug": "s", "settings": {"noise": True}}, "/settings/noise"),
        (
            {"slug": "s", "settings": {"baseline": {"ip_whitelist": ["1.1.1.1", "x"]}}},
            "/settings/baseline/ip_whitelist/1",
        ),
        (
            {"slug": "s", "settings": {"baseline": {"blocked_countries": ["UK1"]}}},
            "/settings/baseline/blocked_countries/0",
        ),
        (
            {"slug": "s", "settings": {"baseline": {"endpoint_rate_limits": {"/a": [0, 60]}}}},
            "/settings/baseline/endpoint_rate_limits/~1a/0",
        ),
    ],
)
async def test_bad_members_are_named(
    client: httpx.AsyncClient, admin: dict[str, str], body: dict[str, Any], pointer: str
) -> None:
    answer = await client.post("/api/v1/projects", json=body, headers=admin)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "validation_failed"
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]


async def test_a_bound_key_reaches_its_project_alone(client: httpx.AsyncClient, resources: Resources) -> None:
    tenant = await make.tenant(resources)
    _, text = await make.key(resources, tenant)
    admin = make.bearing(text)
    own, other = [await made(client, admin, slug=slug) for slug in ("own", "other")]
    body = {"name": "k", "role": "admin", "project_id": own["id"], "rate_limit_per_minute": 1000}
    bound = make.bearing((await client.post("/api/v1/keys", json=body, headers=admin)).json()["api_key"])
    listed = (await client.get("/api/v1/projects", headers=bound)).json()["data"]
    assert [project["id"] for project in listed] == [own["id"]]
    assert (await client.get(f"/api/v1/projects/{own['id']}", headers=bound)).status_code == 200
    for method in ("GET", "PATCH", "DELETE"):
        sent: dict[str, Any] | None = {} if method == "PATCH" else None
        url = f"/api/v1/projects/{other['id']}"
        assert (await client.request(method, url, json=sent, headers=bound)).status_code == 404
    whole: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/projects", {"slug": "more"}),
        ("PUT", "/project-policy", {"auto_create_projects": False}),
    ]
    for method, path, wanted in whole:
        answer = await client.request(method, f"/api/v1{path}", json=wanted, headers=bound)
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_escalation")


async def test_the_default_project_cannot_be_archived(
    client: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    project = await made(client, admin, slug="default")
    assert (await client.delete(f"/api/v1/projects/{project['id']}", headers=admin)).status_code == 409


async def send(client: httpx.AsyncClient, headers: dict[str, str], project: str | None) -> tuple[int, str]:
    named = {} if project is None else {"X-Project-ID": project}
    answer = await client.post("/api/v1/events", json={"batch_id": "b"}, headers=headers | named)
    return answer.status_code, answer.json().get("code", "")


async def test_an_archived_projects_keys_are_refused_at_once_and_its_name_makes_no_other(
    client: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    project = await made(client, admin, slug="shop", external_ids=["proj_1"])
    body = {"name": "app", "role": "agent", "project_id": project["id"]}
    bound = make.bearing((await client.post("/api/v1/keys", json=body, headers=admin)).json()["api_key"])
    assert await send(client, bound, None) == (200, "")
    url = f"/api/v1/projects/{project['id']}"
    await client.delete(url, headers=admin)
    assert await send(client, bound, None) == (403, "unknown_project")
    for name in ("shop", "proj_1", project["id"]):
        assert await send(client, admin, name) == (403, "unknown_project")
    await client.post(f"{url}/restore", headers=admin)
    assert await send(client, bound, "proj_1") == (200, "")


async def test_a_tenant_says_whether_naming_a_project_makes_it(
    client: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    policy = "/api/v1/project-policy"
    assert (await client.get(policy, headers=admin)).json() == {"auto_create_projects": True}
    assert await send(client, admin, "first") == (200, "")
    no = await client.put(policy, json={"auto_create_projects": False}, headers=admin)
    assert no.json() == {"auto_create_projects": False}
    assert await send(client, admin, "second") == (403, "unknown_project")
    assert await send(client, admin, "first") == (200, "")
    await client.put(policy, json={"auto_create_projects": True}, headers=admin)
    assert await send(client, admin, "second") == (200, "")
