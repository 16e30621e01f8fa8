"""The text of a key, an invitation or a header that bears one is in the answer that gives it, and nowhere else."""

import asyncio
import json
from pathlib import Path

import asyncpg
import httpx

from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import expiry
from server.tests.components import api, hosts, logged
from server.tests.components.hosts import Host
from server.tests.components.opened import opened
from server.tests.components.postgres import Clone
from server.tests.identity import make

EVERY_ROW = """
SELECT c.relname AS name FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
AND NOT relispartition
"""


async def everything_stored(database: Clone) -> str:
    """Return every row of every table as text, as a dump would hold it."""
    connection = await asyncpg.connect(database.superuser_url)
    try:
        found = []
        for table in await connection.fetch(EVERY_ROW):
            rows = await connection.fetch(f"SELECT t::text AS row FROM public.{table['name']} t")
            found += [row["row"] for row in rows]
        return "\n".join(found)
    finally:
        await connection.close()


def files_under(folder: Path) -> str:
    return "".join(
        path.read_text(encoding="utf-8", errors="replace") for path in folder.rglob("*") if path.is_file()
    )


def secrets_in(answers: list[httpx.Response]) -> list[str]:
    """Return every secret that was given once, and check that it was given in one answer only."""
    given = [
        answer.json()[name]
        for answer in answers
        if answer.status_code == httpx.codes.CREATED
        for name in ("api_key", "code")
        if answer.json().get(name)
    ]
    for secret in given:
        assert sum(secret in answer.text for answer in answers) == 1
    return given


async def live(client: httpx.AsyncClient, admin: dict[str, str]) -> list[httpx.Response]:
    """Do with keys whatever can be done with them, wrongly too."""
    answers: list[httpx.Response] = []

    async def call(
        method: str, path: str, headers: dict[str, str] | None = None, **sent: object
    ) -> httpx.Response:
        answer = await client.request(method, path, headers=headers or admin, **sent)  # type: ignore[arg-type] # httpx's own names
        answers.append(answer)
        return answer

    key = (await call("POST", "/api/v1/keys", json={"name": "canary", "role": "admin"})).json()
    test = (await call("POST", "/api/v1/keys", json={"name": "canary", "env": "test"})).json()["api_key"]
    code = (await call("POST", "/api/v1/invites", json={})).json()["code"]
    invited = await call("POST", "/auth/register", {}, json={"name": "canary", "invite_code": code})
    text = key["api_key"]
    mine = make.bearing(text)
    for headers in (
        mine,
        {"Authorization": f"Bearer {text}"},
        {"Authorization": f"Basic {text}"},
        make.bearing(f"{text}x"),
    ):
        await call("GET", "/api/v1/me", headers)
    await call("GET", f"/api/v1/me?api_key={text}", {})
    await call("GET", f"/api/v1/agents/{text}", mine)
    await call("POST", "/api/v1/keys/verify", json={"key": text})
    await call("POST", "/api/v1/keys/verify", json={"key": text, text: text})
    await call("POST", "/api/v1/keys", mine, content=f'{{"name": "{text}"'.encode())
    await call("PATCH", f"/api/v1/keys/{key['id']}", json={"state": text})
    await call("POST", f"/api/v1/keys/{key['id']}/rotate", json={"grace_seconds": 60})
    await call("POST", "/auth/rotate-key", make.bearing(invited.json()["api_key"]))
    await call("GET", "/api/v1/me", mine | {"Referer": f"https://x.example/?{text}", "User-Agent": "agent"})
    await call("GET", "/api/v1/me", make.bearing(test) | {"X-API-Key": text})
    await call("GET", "/api/v1/keys")
    await call("GET", "/api/v1/keys?env=test")
    await call("DELETE", f"/api/v1/keys/{key['id']}", mine)
    await call("POST", "/api/v1/keys/revoke-all")
    await call("GET", "/api/v1/me", mine)
    return answers


async def test_no_secret_of_identity_is_anywhere_but_in_its_answer(database: Clone, tmp_path: Path) -> None:
    with logged.written() as logs:
        async with (
            opened(database.database_url, tmp_path, registration="invite") as resources,
            api.client_of(resources) as client,
        ):
            _, first = await make.key(resources, await make.tenant(resources))
            await hosts.make_days(resources)
            host = Host(client, first)
            await host.accepted([hosts.call()])
            answers = await live(client, make.bearing(first))
            async with system_transaction(resources.database) as tx:
                await expiry.tell_expiring(tx, resources.clock.now())
            await asyncio.sleep(0.1)
        secrets = [first, *secrets_in(answers)]
        said = logs.getvalue()
    assert len(secrets) >= 6
    assert said.count("\n") > 15
    stored = await everything_stored(database)
    assert len(stored) > 2000
    kept_on_disk = files_under(tmp_path)
    for secret in secrets:
        # Of a key only its first 16 characters and its last 4 are kept.
        inner = secret[16:-4]
        for place, text in {"logs": said, "rows": stored, "files": kept_on_disk}.items():
            assert inner not in text, f"a secret is in the {place}"
            assert json.dumps(inner)[1:-1] not in text
    for answer in answers:
        if not answer.is_success:
            assert not any(secret[16:-4] in answer.text for secret in secrets), answer.text
