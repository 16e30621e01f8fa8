import httpx
import pytest

from guardhouse.foundation.resources import Resources
from guardhouse.identity.roles import ROLES, SCOPES, TENANT_ROLES
from guardhouse.notices.kinds import READ_SCOPES
from server.tests.components.operations import Operation, operations_of
from server.tests.identity import make

# What an operation without a scope of its own asks besides a credential: to read at least one kind of notice.
STREAMS = {"stream_notices", "create_stream_ticket"}
OPEN = {
    "get_liveness", "get_readiness", "get_health", "get_version", "list_problems", "get_problem",
    "create_token", "introspect_token", "revoke_token", "get_authorization_server", "get_protected_resource",
    "get_public_keys", "begin_sign_in", "finish_sign_in", "end_sessions_of_issuer",
    "create_session", "open_link",
    "list_audit_keys",
}  # fmt: skip


def opens(operation: Operation, role: str) -> bool:
    """Tell what the roles' table says."""
    if operation.scopes is None:
        return True
    if operation.id in STREAMS:
        return not READ_SCOPES.isdisjoint(ROLES[role])
    return not operation.scopes or not operation.scopes.isdisjoint(ROLES[role])


@pytest.mark.parametrize("role", [*sorted(ROLES), "anonymous"])
async def test_every_operation_as_every_role(
    client: httpx.AsyncClient, resources: Resources, role: str
) -> None:
    headers: dict[str, str] = {}
    if role != "anonymous":
        _, text = await make.key(resources, await make.tenant(resources), role)
        headers = make.bearing(text)
    operations = await operations_of(client)
    assert len(operations) > 25
    for operation in operations:
        answer = await operation.call(client, headers)
        said = (operation.id, role, answer.status_code, answer.text)
        assert answer.status_code < 500, said
        if role == "anonymous":
            assert (answer.status_code == 401) == (operation.scopes is not None), said
        else:
            assert answer.status_code != 401, said
            assert (answer.status_code == 403) == (not opens(operation, role)), said
        assert str(answer.status_code) in operation.described["responses"], said


async def test_every_operation_is_in_the_table(client: httpx.AsyncClient) -> None:
    for operation in await operations_of(client):
        if operation.scopes is None:
            assert operation.id in OPEN, operation
        else:
            assert operation.scopes <= SCOPES, operation
            assert operation.scopes or operation.id in STREAMS | {"get_me", "end_session"}, operation


def test_the_table_itself() -> None:
    assert ROLES["viewer"] < ROLES["analyst"] < ROLES["admin"] < ROLES["platform"]
    assert "platform" not in TENANT_ROLES
    assert not any("platform" in ROLES[role] for role in TENANT_ROLES)
    assert not any(scope.endswith((":read", ":admin")) for scope in ROLES["agent"] - {"app_rules:read"})
    assert ROLES["billing"] < ROLES["admin"]
    assert not any(scope.endswith(":write") for scope in ROLES["billing"])
    assert not any(scope.endswith(":write") for scope in ROLES["viewer"])
