"""Secrets of projects over HTTP: shown once, sealed at rest, two usable at a time."""

import asyncio
import base64
import re

import httpx
import pytest

from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from server.tests.identity import make

KINDS = [
    ("encryption-keys", "encryption_key", r"[A-Za-z0-9_-]{43}"),
    ("signing-secrets", "signing_secret", r"[A-Za-z0-9]{48}"),
]


@pytest.fixture
async def admin(resources: Resources) -> dict[str, str]:
    _, text = await make.key(resources, await make.tenant(resources))
    return make.bearing(text)


@pytest.fixture
async def url(client: httpx.AsyncClient, admin: dict[str, str]) -> str:
    made = await client.post("/api/v1/projects", json={"slug": "shop"}, headers=admin)
    return f"/api/v1/projects/{made.json()['id']}"


@pytest.mark.parametrize(("path", "member", "form"), KINDS)
async def test_a_rotation_without_a_gap(
    client: httpx.AsyncClient, admin: dict[str, str], url: str, path: str, member: str, form: str
) -> None:
    places = f"{url}/{path}"

    async def listed() -> list[tuple[str, str]]:
        rows = (await client.get(places, headers=admin)).json()["data"]
        return [(row["state"], row["last4"]) for row in rows]

    made = []
    for n in range(3):
        answer = await client.post(places, headers=admin | {"Idempotency-Key": f"{path}-{n}"})
        assert answer.status_code == 201, answer.text
        made.append(answer.json())
        assert re.fullmatch(form, made[-1][member])
    assert len({one[member] for one in made}) == 3
    assert await listed() == [("active", made[2]["last4"]), ("previous", made[1]["last4"])]
    again = await client.post(places, headers=admin | {"Idempotency-Key": f"{path}-2"})
    assert made[2][member] not in again.text
    assert (await client.delete(f"{places}/{made[0]['id']}", headers=admin)).status_code == 404
    assert (await client.delete(f"{places}/{made[2]['id']}", headers=admin)).status_code == 204
    assert await listed() == [("previous", made[1]["last4"])]
    fourth = (await client.post(places, headers=admin)).json()
    assert await listed() == [("active", fourth["last4"]), ("previous", made[1]["last4"])]
    log = (await client.get("/api/v1/audit", headers=admin)).json()["data"]
    name = path.removesuffix("s").replace("-", "_")
    told = [entry["action"] for entry in log if entry["action"].startswith(name)]
    assert sorted(told) == [f"{name}.create"] * 4 + [f"{name}.delete"]
    assert not any(one[member] in str(log) for one in (*made, fourth))


async def test_secrets_are_sealed_at_rest(
    client: httpx.AsyncClient, admin: dict[str, str], url: str, resources: Resources
) -> None:
    key = (await client.post(f"{url}/encryption-keys", headers=admin)).json()["encryption_key"]
    secret = (await client.post(f"{url}/signing-secrets", headers=admin)).json()["signing_secret"]
    async with system_transaction(resources.database) as tx:
        rows = await tx.fetch("SELECT sealed FROM project_secrets")
    stored = b"".join(row[0] for row in rows)
    assert len(rows) == 2
    assert base64.urlsafe_b64decode(key + "=") not in stored
    assert secret.encode() not in stored


async def test_a_secret_can_be_brought_along_once(
    client: httpx.AsyncClient, admin: dict[str, str], url: str
) -> None:
    for path, body in (
        ("encryption-keys", {"encryption_key": base64.urlsafe_b64encode(bytes(range(32))).decode()}),
        ("signing-secrets", {"signing_secret": "our-own-long-secret"}),
    ):
        answers = [await client.post(f"{url}/{path}", json=body, headers=admin) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 409]
        assert len((await client.get(f"{url}/{path}", headers=admin)).json()["data"]) == 1
    for path, bad in (
        ("encryption-keys", {"encryption_key": "A" * 42}),
        ("encryption-keys", {"encryption_key": "short"}),
        ("signing-secrets", {"signing_secret": "short"}),
        ("signing-secrets", {"signing_secret": "with a space in it"}),
    ):
        answer = await client.post(f"{url}/{path}", json=bad, headers=admin)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


async def test_secrets_made_at_once_leave_two(
    client: httpx.AsyncClient, admin: dict[str, str], url: str
) -> None:
    answers = await asyncio.gather(*(client.post(f"{url}/encryption-keys", headers=admin) for _ in range(4)))
    assert [answer.status_code for answer in answers] == [201] * 4
    rows = (await client.get(f"{url}/encryption-keys", headers=admin)).json()["data"]
    assert [row["state"] for row in rows] == ["active", "previous"]


async def test_an_archived_project_gets_none(
    client: httpx.AsyncClient, admin: dict[str, str], url: str
) -> None:
    await client.delete(url, headers=admin)
    for path, _, _ in KINDS:
        assert (await client.post(f"{url}/{path}", headers=admin)).status_code == 409
