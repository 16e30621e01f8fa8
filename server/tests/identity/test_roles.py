"""The table of roles against every operation: one test for each pair, made from the OpenAPI document."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import pytest
import pytest_asyncio

from guardhouse.foundation.resources import Resources
from guardhouse.identity.roles import ROLES, SCOPES, TENANT_ROLES
from guardhouse.identity.store import Tenant
from guardhouse.notices.kinds import READ_SCOPES
from server.tests.components import api
from server.tests.components.opened import opened
from server.tests.components.operations import Operation, documented
from server.tests.components.postgres import Clone
from server.tests.identity import make

# What an operation without a scope of its own asks besides a credential: to read at least one kind of notice.
STREAMS = {"stream_notices", "create_stream_ticket"}
OPEN = {
    "get_liveness", "get_readiness", "get_health", "get_version", "list_problems", "get_problem",
    "create_token", "introspect_token", "revoke_token", "get_authorization_server", "get_protected_resource",
    "get_public_keys", "begin_sign_in", "finish_sign_in", "end_sessions_of_issuer",
    "create_session", "open_link",
    "list_audit_keys",
    "register_key",
}  # fmt: skip
# Opened by what stands in their path and by nothing else: no role, no key, no session.
LINKS = {"get_object"}  # signed, for whoever holds them; a made-up one is refused whoever asks
CAPABILITIES = {"send_import"}
# Open to nobody and to these: a credential that is presented must be good for it.
NEEDED_IF_PRESENTED = {"register_key": "keys:write"}
PAIRS = [
    pytest.param(operation, role, id=f"{operation.id}-{role}")
    for operation in documented()
    for role in [*sorted(ROLES), "anonymous"]
]


@dataclass(frozen=True, slots=True)
class House:
    """One application with a tenant, shared by the tests of this file."""

    resources: Resources
    client: httpx.AsyncClient
    tenant: Tenant


@pytest_asyncio.fixture(scope="module")
async def house(postgres: Clone, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """Return the house; every test takes a fresh key, since some operations end the one they are called with."""
    await emptied(postgres)
    folder: Path = tmp_path_factory.mktemp("roles")
    async with opened(postgres.database_url, folder) as resources, api.client_of(resources) as client:
        yield House(resources, client, await make.tenant(resources))


async def emptied(postgres: Clone) -> None:
    connection = await asyncpg.connect(postgres.superuser_url)
    await connection.execute("SELECT testing.clean()")
    await connection.close()


def opens(operation: Operation, role: str) -> bool:
    """Tell what the roles' table says."""
    if operation.id in NEEDED_IF_PRESENTED:
        return NEEDED_IF_PRESENTED[operation.id] in ROLES[role]
    if operation.scopes is None:
        return True
    if operation.id in STREAMS:
        return not READ_SCOPES.isdisjoint(ROLES[role])
    return not operation.scopes or not operation.scopes.isdisjoint(ROLES[role])


@pytest.mark.parametrize(("operation", "role"), PAIRS)
async def test_an_operation_as_a_role(house: House, operation: Operation, role: str) -> None:
    headers: dict[str, str] = {}
    if role != "anonymous":
        _, text = await make.key(house.resources, house.tenant, role)
        headers = make.bearing(text)
    answer = await operation.call(house.client, headers)
    assert answer.status_code < 500, answer.text
    if operation.id in CAPABILITIES:
        assert answer.status_code == 401, answer.text
    elif operation.id in LINKS:
        assert answer.status_code == 403, answer.text
    elif role == "anonymous":
        assert (answer.status_code == 401) == (operation.scopes is not None), answer.text
    else:
        assert answer.status_code != 401, answer.text
        assert (answer.status_code == 403) == (not opens(operation, role)), answer.text
    assert str(answer.status_code) in operation.described["responses"], answer.text


def test_the_document_holds_what_the_table_is_about() -> None:
    assert len(documented()) > 40


@pytest.mark.parametrize("operation", documented(), ids=lambda operation: operation.id)
def test_every_operation_is_in_the_table(operation: Operation) -> None:
    if operation.scopes is None:
        assert operation.id in OPEN | CAPABILITIES | LINKS, (
            "an operation without Require(...) is open to anybody: list it in OPEN if so"
        )
    else:
        assert operation.scopes <= SCOPES, "the scope is in no role: give it to one in identity/roles.py"
        assert operation.scopes or operation.id in STREAMS | {
            "get_me",
            "end_session",
            "get_profile",
            "sign_out",
        }, "it asks for no scope at all"


# The columns of api-webhooks-identity §4.1, as far as there is something behind them.
MATRIX = {
    "events:read": "viewer analyst admin platform",
    "scores:read": "viewer analyst admin platform",
    "scores:write": "analyst admin platform",
    "risk:write": "admin platform",
    "events:write": "admin agent platform",
    "telemetry:write": "admin agent platform",
    "app_rules:read": "admin agent platform",
    "app_rules:write": "admin platform",
    "agents:read": "viewer analyst admin platform",
    "agents:write": "admin platform",
    "projects:read": "viewer analyst admin platform",
    "projects:write": "admin platform",
    "anomalies:read": "viewer analyst admin platform",
    "anomalies:write": "analyst admin platform",
    "anomalies:admin": "admin platform",
    "detect:write": "analyst admin agent platform",
    "detect:read": "viewer analyst admin agent platform",
    "usage:read": "viewer analyst admin billing platform",
    "usage:own": "admin agent platform",
    "webhooks:read": "viewer analyst admin platform",
    "webhooks:write": "admin platform",
    "webhooks:own": "admin agent platform",
    "webhooks:replay": "analyst admin platform",
    "keys:own": "viewer analyst admin agent billing platform",
    "keys:read": "admin platform",
    "keys:write": "admin platform",
    "members:read": "admin platform",
    "members:write": "admin platform",
    "identity:read": "admin platform",
    "identity:write": "admin platform",
    "audit:read": "analyst admin platform",
    "audit:own": "admin billing platform",
    "admin": "admin platform",
    "platform": "platform",
}


def test_the_table_is_the_plans() -> None:
    table = {
        scope: {role for role, scopes in ROLES.items() if scope in scopes}
        for scope in SCOPES
        if scope in MATRIX
    }
    assert table == {scope: set(roles.split()) for scope, roles in MATRIX.items()}


def test_the_table_itself() -> None:
    assert ROLES["viewer"] < ROLES["analyst"] < ROLES["admin"] < ROLES["platform"]
    assert "platform" not in TENANT_ROLES
    assert not any("platform" in ROLES[role] for role in TENANT_ROLES)
    assert not any(
        scope.endswith((":read", ":admin"))
        for scope in ROLES["agent"] - {"app_rules:read", "detect:read", "runs:read", "budget:read"}
    )
    assert ROLES["billing"] < ROLES["admin"]
    assert not any(scope.endswith(":write") for scope in ROLES["billing"] - {"ledger:write"})
    assert not any(scope.endswith(":write") for scope in ROLES["viewer"])
