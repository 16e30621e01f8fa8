import asyncio
import base64
from typing import Any

import httpx
import pytest

from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import signatures
from guardhouse.identity.signatures import Unauthorized
from server.tests.identity import make


@pytest.fixture
async def admin(resources: Resources) -> dict[str, str]:
    _, text = await make.key(resources, await make.tenant(resources))
    return make.bearing(text)


async def signs(resources: Resources, key: dict[str, Any]) -> bool:
    """Tell whether a key works."""
    secret = base64.urlsafe_b64decode(key["secret"] + "=")
    async with system_transaction(resources.database) as tx:
        try:
            await signatures.verify_signature(tx, resources, make.signed_request(key["key_id"], secret))
        except Unauthorized:
            return False
        return True


async def test_the_life_of_an_agent(
    client: httpx.AsyncClient, admin: dict[str, str], resources: Resources
) -> None:
    made = await client.post(
        "/api/v1/agents", json={"id": "web-1", "hostname": "h", "metadata": {"a": [1]}}, headers=admin
    )
    assert made.status_code == 201
    first = made.json()
    assert (first["status"], first["name"], first["key_id"]) == ("new", "h", "web-1:1")
    assert (first["events"], first["missing"], first["streams"]) == (0, 0, [])
    assert await signs(resources, first)
    shown = (await client.get("/api/v1/agents/web-1", headers=admin)).json()
    assert shown == {k: v for k, v in first.items() if k not in {"key_id", "secret"}}
    assert (await client.post("/api/v1/agents", json={"id": "web-1"}, headers=admin)).json()[
        "code"
    ] == "conflict"

    changed = await client.patch("/api/v1/agents/web-1", json={"name": "n", "metadata": {}}, headers=admin)
    assert (changed.json()["name"], changed.json()["hostname"], changed.json()["metadata"]) == ("n", "h", {})
    second = (
        await client.post("/api/v1/agents/web-1/rotate-key", json={"grace_seconds": 0}, headers=admin)
    ).json()
    assert second["key_id"] == "web-1:2"
    assert [await signs(resources, key) for key in (first, second)] == [False, True]
    third = (await client.post("/api/v1/agents/web-1/rotate-key", headers=admin)).json()
    assert [await signs(resources, key) for key in (second, third)] == [True, True]

    assert (await client.delete("/api/v1/agents/web-1", headers=admin)).status_code == 204
    assert not await signs(resources, third)
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate-key")):
        body: dict[str, str] | None = {} if method in {"PATCH", "POST"} else None
        answer = await client.request(method, f"/api/v1/agents/web-1{path}", json=body, headers=admin)
        assert answer.status_code == 404
    again = (await client.post("/api/v1/agents", json={"id": "web-1"}, headers=admin)).json()
    assert again["key_id"] == "web-1:4"
    assert [await signs(resources, key) for key in (first, third, again)] == [False, False, True]


async def test_rotations_at_once_take_a_number_each(
    client: httpx.AsyncClient, admin: dict[str, str], resources: Resources
) -> None:
    await client.post("/api/v1/agents", json={"id": "web-1"}, headers=admin)
    answers = await asyncio.gather(
        *(client.post("/api/v1/agents/web-1/rotate-key", headers=admin) for _ in range(6))
    )
    assert sorted(answer.json()["key_id"] for answer in answers) == [f"web-1:{n}" for n in range(2, 8)]
    assert all([await signs(resources, answer.json()) for answer in answers])


async def test_removal_against_rotation_leaves_no_key_that_signs(
    client: httpx.AsyncClient, admin: dict[str, str], resources: Resources
) -> None:
    for number in range(5):
        agent = f"web-{number}"
        await client.post("/api/v1/agents", json={"id": agent}, headers=admin)
        rotated, removed = await asyncio.gather(
            client.post(f"/api/v1/agents/{agent}/rotate-key", headers=admin),
            client.delete(f"/api/v1/agents/{agent}", headers=admin),
        )
        assert removed.status_code == 204
        assert rotated.status_code in {201, 404}
        assert rotated.status_code == 404 or not await signs(resources, rotated.json())


async def test_enrolments_of_one_id_at_once_make_one_agent(
    client: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    answers = await asyncio.gather(
        *(client.post("/api/v1/agents", json={"id": "x"}, headers=admin) for _ in range(6))
    )
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 5]


@pytest.mark.parametrize(
    "body",
    [
        {"id": "-a"}, {"id": "a b"}, {"id": "a:1"}, {"id": "a/b"}, {"id": "é"}, {"id": "a", "name": ""},
        {"id": "a", "signature_modes": []}, {"id": "a", "signature_modes": ["none"]}, {"id": "a", "metadata": []},
        {"id": "a", "hostname": "x" * 256}, {"id": "a", "secret": "mine"},
    ],
)  # fmt: skip
async def test_what_an_agent_may_not_be(
    client: httpx.AsyncClient, admin: dict[str, str], body: dict[str, Any]
) -> None:
    assert (await client.post("/api/v1/agents", json=body, headers=admin)).status_code == 422


@pytest.mark.parametrize("grace", [-1, 604_801, "x", 1.5, None])
async def test_a_grace_is_up_to_a_week(
    client: httpx.AsyncClient, admin: dict[str, str], grace: object
) -> None:
    await client.post("/api/v1/agents", json={"id": "a"}, headers=admin)
    answer = await client.post("/api/v1/agents/a/rotate-key", json={"grace_seconds": grace}, headers=admin)
    assert answer.status_code == 422


async def test_lists_are_filtered_and_paged(
    client: httpx.AsyncClient, admin: dict[str, str], resources: Resources
) -> None:
    for name in ("db-1", "web-1", "web-2", "web_3"):
        assert (await client.post("/api/v1/agents", json={"id": name}, headers=admin)).status_code == 201
    async with system_transaction(resources.database) as tx:
        await tx.run("UPDATE host_agents SET last_seen = now() WHERE agent_id = 'web-1'")
        await tx.run(
            "UPDATE host_agents SET last_seen = now() - interval '21 minutes' WHERE agent_id = 'web-2'"
        )

    async def ids(query: str) -> list[str]:
        answer = await client.get(f"/api/v1/agents?{query}", headers=admin)
        return [agent["id"] for agent in answer.json()["data"]]

    assert await ids("q=WEB") == ["web-1", "web-2", "web_3"]
    assert await ids("q=b_3") == ["web_3"]  # an underscore is an underscore
    assert await ids("q=%25") == []
    assert await ids("status=active") == ["web-1"]
    assert await ids("status=silent") == ["web-2"]
    assert await ids("status=new") == ["db-1", "web_3"]
    page = (await client.get("/api/v1/agents?limit=3&q=b", headers=admin)).json()
    rest = await ids(f"limit=3&q=b&cursor={page['pagination']['cursor']}")
    assert [agent["id"] for agent in page["data"]] + rest == ["db-1", "web-1", "web-2", "web_3"]
    other = await client.get(f"/api/v1/agents?q=x&cursor={page['pagination']['cursor']}", headers=admin)
    assert other.json()["reason"] == "filters_changed"
