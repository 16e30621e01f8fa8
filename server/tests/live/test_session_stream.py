"""A stream that a browser holds with its cookie lives and ends with the session."""

from uuid import UUID

import httpx

from guardhouse.audit.record import Actor
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import sessions
from server.tests.components.opened import add_tenant
from server.tests.live.make import PATIENCE_SECONDS, URL, Stream, serving
from server.tests.notices.make import say


async def test_a_stream_ends_with_its_session(resources: Resources) -> None:
    tenant, key = await add_tenant(resources, "acme")
    async with serving(resources) as served, served.client(None) as client:
        opened = await client.post("/auth/session", json={"api_key": key})
        cookie = {"Cookie": f"gh_session={opened.cookies['gh_session']}"}
        client.cookies.clear()
        async with client.stream("GET", URL, headers=cookie) as response:
            assert response.status_code == 200
            stream = Stream(response)
            await stream.next()
            await served.hub._recheck()  # a good session stays
            await say(resources, tenant, "web-9")
            (notice,) = await stream.notices(1)
            assert notice
            async with system_transaction(resources.database) as tx:
                session = await sessions.get_session(tx, tenant.id, UUID(opened.json()["id"]))
                await sessions.end_session(tx, Actor(tenant.id, "test:1"), session)
            farewell = (await stream.rest())[-1]
            assert (farewell.name, farewell.data) == ("goodbye", {"reason": "credential"})


async def test_a_ticket_of_a_session_ends_with_it_too(resources: Resources) -> None:
    tenant, key = await add_tenant(resources, "acme")
    async with serving(resources) as served:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}", trust_env=False) as client:
            opened = await client.post("/auth/session", json={"api_key": key})
            console = {"X-Guardhouse-Console": "1", "Sec-Fetch-Site": "same-origin"}
            ticket = (await client.post("/api/v1/stream/tickets", headers=console)).json()["ticket"]
        async with (
            served.client(None) as client,
            client.stream("GET", URL, params={"ticket": ticket}, timeout=PATIENCE_SECONDS) as response,
        ):
            stream = Stream(response)
            await stream.next()
            await served.hub._recheck()
            async with system_transaction(resources.database) as tx:
                session = await sessions.get_session(tx, tenant.id, UUID(opened.json()["id"]))
                await sessions.end_session(tx, Actor(tenant.id, "test:1"), session)
            farewell = (await stream.rest())[-1]
            assert farewell.data == {"reason": "credential"}
