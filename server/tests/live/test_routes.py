from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from guardhouse.foundation.errors import ValidationFailed
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity.refusals import ScopeMissing
from guardhouse.identity.roles import ROLES
from guardhouse.live import tickets
from guardhouse.live.routes import readable_kinds
from guardhouse.live.store import Visitor
from guardhouse.live.tickets import TicketInvalid
from guardhouse.notices.kinds import KINDS
from server.tests.components.opened import add_tenant
from server.tests.live.make import URL, Served, serving, streaming
from server.tests.notices.make import ACME, say

ADMIN = ROLES["admin"]


@pytest_asyncio.fixture
async def served(resources: Resources) -> AsyncIterator[Served]:
    async with serving(resources) as found:
        yield found


async def get(served: Served, key: str | None, **sent: Any) -> tuple[int, Any]:
    async with served.client(key) as client:
        answer = await client.get(URL, **sent)
    return answer.status_code, answer.json()


@pytest.mark.parametrize("last_id", ["rubbish", "1.2", "9999.9.9", "-1.2.3"])
async def test_an_id_that_was_never_given_out_is_refused_before_the_stream(
    resources: Resources, served: Served, last_id: str
) -> None:
    _, key = await add_tenant(resources, "acme")
    for sent in ({"headers": {"Last-Event-ID": last_id}}, {"params": {"last_event_id": last_id}}):
        status, problem = await get(served, key, **sent)
        assert (status, problem["code"]) == (400, "invalid_cursor")


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"kinds": "risk.band_crosed"}, 422, "validation_failed"),
        ({"min_severity": "loud"}, 422, "validation_failed"),
        ({"project_id": "7"}, 422, "validation_failed"),
        ({"kind": "risk.updated"}, 422, "unknown_parameter"),
    ],
)
async def test_bad_filters_are_named(
    resources: Resources, served: Served, query: dict[str, str], status: int, code: str
) -> None:
    _, key = await add_tenant(resources, "acme")
    found, problem = await get(served, key, params=query)
    assert (found, problem["code"]) == (status, code)


async def test_without_a_credential_or_a_read_scope_there_is_no_stream(
    resources: Resources, served: Served
) -> None:
    _, key = await add_tenant(resources, "acme", role="agent", scopes=("events:write",))
    assert (await get(served, None))[0] == 401
    status, problem = await get(served, key)
    assert (status, problem["code"]) == (403, "scope_missing")
    async with served.client(key) as client:
        assert (await client.post(f"{URL}/tickets")).status_code == 403


async def test_a_ticket_opens_one_stream(resources: Resources, served: Served) -> None:
    tenant, key = await add_tenant(resources, "acme")
    async with served.client(key) as client:
        made = await client.post(f"{URL}/tickets")
    assert (made.status_code, made.json()["expires_in_seconds"]) == (201, 60)
    ticket = made.json()["ticket"]
    async with system_transaction(resources.database) as tx:
        stored = await tx.fetch_value("SELECT ticket_hash FROM stream_tickets")
    assert ticket.encode() not in stored
    assert (await get(served, key, params={"ticket": ticket}))[1]["code"] == "ambiguous_credentials"
    async with streaming(served, None, ticket=ticket) as stream:
        await say(resources, tenant)
        assert len(await stream.notices(1)) == 1
    status, problem = await get(served, None, params={"ticket": ticket})
    assert (status, problem["code"]) == (401, "stream_ticket_invalid")


async def test_a_ticket_lasts_a_minute_and_unused_ones_are_cleared_away(resources: Resources) -> None:
    visitor = Visitor(ACME, frozenset({"scores:read"}), None, "key")
    now = resources.clock.now()
    async with system_transaction(resources.database) as tx:
        late, expires_at = await tickets.issue(tx, visitor, now)
        good, _ = await tickets.issue(tx, visitor, now)
        assert expires_at == now + timedelta(seconds=60)
        assert await tickets.redeem(tx, good, now + timedelta(seconds=59)) == visitor
        with pytest.raises(TicketInvalid):
            await tickets.redeem(tx, late, now + timedelta(seconds=60))


def test_patterns_name_kinds_and_scopes_decide() -> None:
    assert readable_kinds(["*"], ADMIN) == {kind for kind in KINDS if KINDS[kind].scope in ADMIN}
    keys = {kind for kind in KINDS if kind.startswith("key.")}
    assert {"key.created", "key.revoked"} <= keys
    wanted = keys | {"telemetry.received", "risk.band_crossed"}
    assert readable_kinds(["key.*, telemetry.*", "risk.band_crossed"], ADMIN) == wanted
    of_events = {"telemetry.received", "agent.alert", "ip.score_crossed"}
    assert readable_kinds(["*"], frozenset({"events:read"})) == of_events
    with pytest.raises(ScopeMissing):
        readable_kinds(["key.*"], frozenset({"events:read"}))
    with pytest.raises(ValidationFailed):
        readable_kinds(["keys.*"], ADMIN)


async def test_the_contract_names_the_events(served: Served) -> None:
    async with served.client(None) as client:
        document = (await client.get("/api/v1/openapi.json")).json()
    operation = document["paths"][URL]["get"]
    events = operation["responses"]["200"]["content"]["text/event-stream"]["x-events"]
    assert set(events) == {"connected", "heartbeat", "gap", "reset", "goodbye", *KINDS}
    schemas = document["components"]["schemas"]
    assert all(event["$ref"].rpartition("/")[2] in schemas for event in events.values())
    assert {"400", "401", "403", "503"} <= set(operation["responses"])
    assert operation["security"]


async def test_an_id_ahead_of_the_present_is_refused(resources: Resources, served: Served) -> None:
    _, key = await add_tenant(resources, "acme")
    async with system_transaction(resources.database) as tx:
        epoch = await tx.fetch_value("SELECT last_value FROM notice_epochs")
    status, problem = await get(served, key, headers={"Last-Event-ID": f"{epoch}.{2**45}.1"})
    assert (status, problem["code"]) == (400, "invalid_cursor")
