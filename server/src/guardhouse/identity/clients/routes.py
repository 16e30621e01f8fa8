"""Routes of OAuth2 clients: make, list, change, remove, and their secrets."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from guardhouse.audit.record import Entry, record
from guardhouse.foundation import etag
from guardhouse.foundation.clock import from_microseconds, microseconds
from guardhouse.foundation.errors import Conflict, NotFound, ValidationFailed
from guardhouse.foundation.etag import PreconditionFailed
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router, resources_of
from guardhouse.foundation.resources import Resources
from guardhouse.identity import tenants
from guardhouse.identity.caller import Caller, Require
from guardhouse.identity.clients.wire import (
    ClientChange,
    ClientList,
    ClientRequest,
    ClientShape,
    NewClientSecretShape,
    NewClientShape,
    client_shape,
    secret_shape,
)
from guardhouse.identity.keys import ScopeEscalation
from guardhouse.identity.published import UrlRefused, check_url
from guardhouse.identity.roles import SCOPES
from guardhouse.identity.tokens import clients
from guardhouse.identity.tokens.clients import NewClient
from guardhouse.identity.tokens.store import Client

router = api_router("oauth")
Reader = Annotated[Caller, Depends(Require("keys:read"))]
Writer = Annotated[Caller, Depends(Require("keys:write"))]


@router.post(
    "/oauth/clients",
    status_code=201,
    operation_id="create_client",
    responses=refusals(ScopeEscalation, UrlRefused),
)
async def create_client(
    caller: Writer, tx: RequestTx, shared: Shared, wanted: ClientRequest, response: Response
) -> NewClientShape:
    """Make an OAuth2 client; its first secret is in this answer and nowhere else."""
    scopes = _known(wanted.scopes)
    _check_url(shared, wanted.jwks_uri)
    tenant = await tenants.find_tenant(tx, caller.tenant_slug)
    if tenant is None:
        raise NotFound
    client, secret = await clients.create_client(
        tx,
        shared.clock,
        shared.peppers[0],
        tenant,
        NewClient(wanted.name, wanted.role, scopes, wanted.token_seconds, wanted.jwks, wanted.jwks_uri),
        created_by=caller.credential_id,
    )
    _within(caller, client.scopes)
    response.headers["ETag"] = etag.etag(client.version)
    await record(tx, caller.actor, Entry("client.create", f"client:{client.id}", after=_recorded(client)))
    return NewClientShape(**client_shape(client).model_dump(), client_secret=secret)


@router.get("/oauth/clients", operation_id="list_clients", response_model=ClientList)
async def list_clients(caller: Reader, tx: RequestTx, page: AskedPage) -> dict[str, Any]:
    """List the tenant's clients, newest first, never their secrets."""
    after = None if page.after is None else (from_microseconds(page.after[0]), UUID(bytes=page.after[1]))
    rows = await clients.list_clients(tx, caller.tenant.id, page.limit + 1, after)
    return page.answer(rows, lambda row: (microseconds(row.created_at), row.id.bytes), client_shape)


@router.get("/oauth/clients/{client_id}", operation_id="get_client", responses=refusals(NotFound))
async def get_client(caller: Reader, tx: RequestTx, client_id: UUID, response: Response) -> ClientShape:
    """Show one client."""
    client = await clients.get_client(tx, caller.tenant.id, client_id)
    response.headers["ETag"] = etag.etag(client.version)
    return client_shape(client)


@router.patch(
    "/oauth/clients/{client_id}",
    operation_id="update_client",
    responses=refusals(NotFound, PreconditionFailed, ScopeEscalation, UrlRefused),
)
async def update_client(
    caller: Writer,
    tx: RequestTx,
    client_id: UUID,
    change: ClientChange,
    request: Request,
    response: Response,
) -> ClientShape:
    """Change a client; its living tokens do what the client may now, within a second."""
    client = await clients.get_client(tx, caller.tenant.id, client_id, lock=True)
    etag.check_match(request.headers, client.version)
    changes = change.model_dump(exclude_none=True)
    _check_url(resources_of(request), change.jwks_uri)
    if "scopes" in changes:
        changes["scopes"] = tuple(sorted(set(_known(change.scopes) or ())))
        _within(caller, changes["scopes"])
    changed = await clients.change_client(tx, client, changes)
    response.headers["ETag"] = etag.etag(changed.version)
    before, after = _recorded(client), _recorded(changed)
    await record(tx, caller.actor, Entry("client.update", f"client:{client.id}", before, after))
    return client_shape(changed)


@router.delete(
    "/oauth/clients/{client_id}", status_code=204, operation_id="delete_client", responses=refusals(NotFound)
)
async def delete_client(caller: Writer, tx: RequestTx, client_id: UUID) -> Response:
    """Remove a client; its secrets and tokens end everywhere within a second."""
    client = await clients.get_client(tx, caller.tenant.id, client_id, lock=True)
    await clients.delete_client(tx, client)
    await record(tx, caller.actor, Entry("client.delete", f"client:{client.id}", before=_recorded(client)))
    return Response(status_code=204)


@router.post(
    "/oauth/clients/{client_id}/secrets",
    status_code=201,
    operation_id="create_client_secret",
    responses=refusals(NotFound, Conflict),
)
async def create_client_secret(
    caller: Writer, tx: RequestTx, shared: Shared, client_id: UUID
) -> NewClientSecretShape:
    """Give a client its second secret; both work until one is deleted."""
    client = await clients.get_client(tx, caller.tenant.id, client_id, lock=True)
    _within(caller, client.scopes)
    secret, text = await clients.add_secret(tx, shared.clock, shared.peppers[0], client)
    added = {"last4": secret.last4}
    await record(tx, caller.actor, Entry("client.add_secret", f"client:{client.id}", after=added))
    return NewClientSecretShape(**secret_shape(secret).model_dump(), client_secret=text)


@router.delete(
    "/oauth/clients/{client_id}/secrets/{secret_id}",
    status_code=204,
    operation_id="delete_client_secret",
    responses=refusals(NotFound),
)
async def delete_client_secret(caller: Writer, tx: RequestTx, client_id: UUID, secret_id: UUID) -> Response:
    """End one secret everywhere within a second; tokens it has fetched live on for their few minutes."""
    client = await clients.get_client(tx, caller.tenant.id, client_id, lock=True)
    await clients.delete_secret(tx, client, secret_id)
    await record(tx, caller.actor, Entry("client.delete_secret", f"client:{client.id}"))
    return Response(status_code=204)


def _known(scopes: Sequence[str] | None) -> tuple[str, ...] | None:
    unknown = sorted(set(scopes or ()) - SCOPES)
    if unknown:
        raise ValidationFailed(
            "There are unknown scopes.",
            errors=[{"pointer": "/scopes", "code": "unknown", "detail": name} for name in unknown],
        )
    return None if scopes is None else tuple(scopes)


def _check_url(shared: Resources, url: str | None) -> None:
    if url is not None:
        check_url(shared.outbound, url, "/jwks_uri")


def _within(caller: Caller, scopes: Sequence[str]) -> None:
    if not caller.scopes.issuperset(scopes):
        raise ScopeEscalation("The client would have scopes that you do not have.")


def _recorded(client: Client) -> Mapping[str, Any]:
    return client_shape(client).model_dump(
        include={"name", "role", "scopes", "token_seconds", "state", "proof", "jwks", "jwks_uri"}
    )
