import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from guardhouse.foundation.resources import Resources
from guardhouse.identity.audit_log import routes
from guardhouse.identity.store import Tenant
from server.tests.audit.make import fill, owner_of, verified
from server.tests.identity import make

REPOSITORY = Path(__file__).parents[3]
Verify = Callable[[bytes], Awaitable[subprocess.CompletedProcess[str]]]


@pytest.fixture
async def acme(resources: Resources) -> Tenant:
    tenant = await make.tenant(resources)
    await fill(
        resources, tenant, 5, before={"text": 'ünïcode \\ " \u2028 \U0001f600', "list": [1, 2.5, None, True]}
    )
    return tenant


@pytest.fixture
async def analyst(resources: Resources, acme: Tenant) -> dict[str, str]:
    return make.bearing((await make.key(resources, acme, "analyst"))[1])


@pytest.fixture
def verify(tmp_path: Path, client: httpx.AsyncClient) -> Verify:
    """Return the program of the documentation, as somebody would run it who copied it from there."""
    page = (REPOSITORY / "docs" / "how-to" / "verify-the-audit-log.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(# verify_export\.py.*?)```", page, re.DOTALL)
    (tmp_path / "verify_export.py").write_text(program, encoding="utf-8")

    async def run(export: bytes) -> subprocess.CompletedProcess[str]:
        (tmp_path / "audit.jsonl").write_bytes(export)
        (tmp_path / "keys.json").write_bytes((await client.get("/api/v1/audit/keys")).content)
        command = [sys.executable, "-I", "-W", "ignore", "verify_export.py", "audit.jsonl", "keys.json"]
        return await asyncio.to_thread(
            subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return run


async def export(client: httpx.AsyncClient, headers: dict[str, str], query: str = "") -> bytes:
    answer = await client.get(f"/api/v1/audit/export{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert "attachment" in answer.headers["content-disposition"]
    return answer.content


async def test_an_export_proves_itself_offline(
    client: httpx.AsyncClient,
    resources: Resources,
    acme: Tenant,
    analyst: dict[str, str],
    verify: Verify,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(routes, "EXPORTED_AT_ONCE", 2)
    first = await export(client, analyst)
    head, *entries, tail = [json.loads(line) for line in first.splitlines()]
    last = head["to"]
    assert (head["from"], len(entries), tail["entries"]) == (1, last, last)
    assert [entry["seq"] for entry in entries] == [*range(1, last + 1)]
    done = await verify(first)
    assert (done.returncode, done.stderr) == (0, "")
    assert tail["end_hash"] in done.stdout
    walk = await verified(resources, acme, last=last)
    assert walk.end_hash is not None
    assert walk.end_hash.hex() == tail["end_hash"]
    assert (await verify(await export(client, analyst, "?from=2&to=4"))).returncode == 0
    again = await export(client, analyst, f"?from={last + 1}&to={last + 1}")
    (recorded,) = [json.loads(line) for line in again.splitlines()[1:-1]]
    assert (recorded["action"], json.loads(recorded["after"])) == ("audit.export", {"from": 1, "to": last})


async def test_every_byte_of_an_export_counts(
    client: httpx.AsyncClient, analyst: dict[str, str], verify: Verify
) -> None:
    good = await export(client, analyst)
    assert (await verify(good)).returncode == 0
    lines = good.splitlines(keepends=True)
    for bad in (
        good.replace(b'"thing:3"', b'"thing:9"'),
        b"".join(lines[:2] + lines[3:]),
        b"".join([lines[0], lines[2], lines[1], *lines[3:]]),
        b"".join(lines[:-2] + lines[-1:]),
        b"".join([*lines[:-1], b"\n", lines[-1]]),
        good.replace(b'"tenant":"acme"', b'"tenant":"evil"'),
    ):
        assert bad != good
        assert (await verify(bad)).returncode != 0


async def test_a_signed_export_of_a_broken_log_shows_the_break(
    client: httpx.AsyncClient, analyst: dict[str, str], owner_url: str, verify: Verify
) -> None:
    async with owner_of(owner_url) as owner:
        await owner.run("UPDATE audit_log SET actor = 'me' WHERE seq = 3")
    broken = await export(client, analyst)
    done = await verify(broken)
    assert done.returncode == 1
    assert "entry 3 is not what was recorded" in done.stderr


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?from=0", 422),
        ("?to=99", 422),
        ("?from=4&to=2", 422),
        ("?from=x", 422),
        ("?form=1", 422),
        ("?to=2", 200),
    ],
)
async def test_ranges(client: httpx.AsyncClient, analyst: dict[str, str], query: str, status: int) -> None:
    for path in ("export", "verify"):
        answer = await client.get(f"/api/v1/audit/{path}{query}", headers=analyst)
        assert answer.status_code == status, answer.text


async def test_an_empty_log_is_exported_too(
    client: httpx.AsyncClient, resources: Resources, owner_url: str, verify: Verify
) -> None:
    _, text = await make.key(resources, await make.tenant(resources, "empty"), "analyst")
    async with owner_of(owner_url) as owner:
        await owner.forget()
    empty = await export(client, make.bearing(text))
    assert len(empty.splitlines()) == 2
    assert (await verify(empty)).returncode == 0
