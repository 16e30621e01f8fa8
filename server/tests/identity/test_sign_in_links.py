import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import sign_in_links
from guardhouse.identity.sign_in.wire import AFTER_SIGN_IN, safe_next
from server.tests.components.opened import opened
from server.tests.identity import make


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def resources(database_url: str, tmp_path: Path, clock: SetClock) -> AsyncIterator[Resources]:
    async with opened(database_url, tmp_path, clock=clock) as found:
        yield found


async def link(resources: Resources, role: str = "analyst") -> str:
    """Make a link and return its path and query."""
    owner = await make.tenant(resources)
    async with system_transaction(resources.database) as tx:
        made = await sign_in_links.make_link(tx, resources, owner, role, created_by="test")
    parts = urlsplit(made.url)
    assert f"{parts.scheme}://{parts.netloc}" == resources.settings.public_url
    return f"{parts.path}?{parts.query}"


async def test_a_link_opens_one_session(client: httpx.AsyncClient, resources: Resources) -> None:
    url = await link(resources)
    opened = await client.get(url)
    assert (opened.status_code, opened.headers["location"]) == (303, AFTER_SIGN_IN)
    assert opened.headers["cache-control"] == "no-store"
    me = (await client.get("/api/v1/me")).json()
    assert (me["tenant"], me["kind"], me["role"]) == ("acme", "user", "analyst")
    (listed,) = (await client.get("/api/v1/sessions")).json()["data"]
    assert listed["opened_by"] == "link"
    again = await client.get(url)
    assert (again.status_code, again.json()["code"]) == (410, "link_expired")
    async with system_transaction(resources.database) as tx:
        recorded = await tx.fetch("SELECT action, actor FROM audit_log ORDER BY seq")
    assert [tuple(entry) for entry in recorded] == [
        ("link.create", "system:test"),
        ("session.open", f"user:{listed['holder_id']}"),
    ]


async def test_a_preview_spends_no_link(client: httpx.AsyncClient, resources: Resources) -> None:
    url = await link(resources)
    seen = await client.head(url)
    assert (seen.status_code, "set-cookie" in seen.headers) == (303, False)
    assert "set-cookie" in (await client.get(url)).headers


async def test_of_two_who_open_it_at_once_one_gets_in(
    client: httpx.AsyncClient, resources: Resources
) -> None:
    url = await link(resources)
    answers = await asyncio.gather(*(client.get(url) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [303] + [410] * 7


async def test_after_ten_minutes_it_opens_nothing(
    client: httpx.AsyncClient, resources: Resources, clock: SetClock
) -> None:
    url = await link(resources)
    clock.move(600)
    answer = await client.get(url)
    assert (answer.status_code, answer.json()["code"]) == (410, "link_expired")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("token", ["ghl_x", "", "x" * 100, "%F0%9F%92%A5"])
async def test_a_token_that_was_never_made(client: httpx.AsyncClient, token: str) -> None:
    answer = await client.get(f"/auth/link?token={token}")
    assert (answer.status_code, answer.json()["code"]) == (410, "link_expired")


async def test_the_link_of_a_suspended_tenant(client: httpx.AsyncClient, resources: Resources) -> None:
    url = await link(resources)
    async with system_transaction(resources.database) as tx:
        await tx.run("UPDATE tenants SET state = 'suspended'")
    answer = await client.get(url)
    assert (answer.status_code, answer.json()["code"]) == (403, "tenant_suspended")


async def test_the_token_is_stored_nowhere(resources: Resources) -> None:
    token = (await link(resources)).partition("token=")[2]
    async with system_transaction(resources.database) as tx:
        rows = [*await tx.fetch("SELECT * FROM sign_in_links"), *await tx.fetch("SELECT * FROM audit_log")]
    assert len(rows) == 2
    assert not any(token in str(row) for row in rows)


@pytest.mark.parametrize(
    "wanted",
    ["", "//evil.example", "https://evil.example/", "\\\\evil", "/\\evil", "x", "javascript:alert(1)", "/a b", "/a\nb",
     "/é", "///evil", "http:/x", None],
)  # fmt: skip
def test_next_stays_on_this_origin(wanted: str | None) -> None:
    assert safe_next(wanted) == AFTER_SIGN_IN


def test_next_may_be_a_path() -> None:
    assert safe_next("/console/acme?from=now-1h#x") == "/console/acme?from=now-1h#x"
