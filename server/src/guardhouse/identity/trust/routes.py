"""Routes of external issuers: trust, show, change (If-Match), try, end."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from guardhouse.audit.record import Entry, record
from guardhouse.foundation import etag
from guardhouse.foundation.clock import from_microseconds, microseconds
from guardhouse.foundation.errors import Conflict, NotFound, ValidationFailed
from guardhouse.foundation.etag import PreconditionFailed, PreconditionRequired
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import (
    AskedPage,
    RequestTx,
    Shared,
    api_router,
    resources_of,
    tenant_transaction,
)
from guardhouse.foundation.resources import Resources
from guardhouse.identity import tenants
from guardhouse.identity.caller import Caller, Require
from guardhouse.identity.issuers import trust
from guardhouse.identity.issuers.trust import NewIssuer
from guardhouse.identity.keys import ScopeEscalation
from guardhouse.identity.published import UrlRefused, check_url
from guardhouse.identity.roles import ROLES, SCOPES
from guardhouse.identity.trust.try_issuer import try_issuer
from guardhouse.identity.trust.wire import (
    IssuerChange,
    IssuerList,
    IssuerRequest,
    IssuerShape,
    IssuerTest,
    IssuerTestRequest,
    issuer_shape,
    recorded,
)

router = api_router("issuers")
Reader = Annotated[Caller, Depends(Require("identity:read"))]
Writer = Annotated[Caller, Depends(Require("identity:write"))]


@router.post(
    "/identity/issuers",
    status_code=201,
    operation_id="create_issuer",
    responses=refusals(Conflict, ScopeEscalation, UrlRefused),
)
async def create_issuer(
    caller: Writer, tx: RequestTx, shared: Shared, wanted: IssuerRequest, response: Response
) -> IssuerShape:
    """Trust an external issuer: its bearer tokens are accepted, and people may sign in when it has a client_id."""
    _check_issuer(shared, wanted.issuer)
    _check_maps(caller, wanted.role_map.values(), wanted.scope_map)
    tenant = await tenants.find_tenant(tx, caller.tenant_slug)
    if tenant is None:
        raise NotFound
    new = NewIssuer(**wanted.model_dump() | {"algorithms": tuple(wanted.algorithms)})
    issuer = await trust.create_issuer(
        tx, shared.clock, shared.master_key, tenant, new, created_by=caller.credential_id
    )
    response.headers["ETag"] = etag.etag(issuer.version)
    await record(tx, caller.actor, Entry("issuer.create", f"issuer:{issuer.id}", after=recorded(issuer)))
    return issuer_shape(issuer, shared.settings.public_url)


@router.get("/identity/issuers", operation_id="list_issuers", response_model=IssuerList)
async def list_issuers(caller: Reader, tx: RequestTx, shared: Shared, page: AskedPage) -> dict[str, Any]:
    """List the issuers that the tenant trusts, newest first."""
    after = None if page.after is None else (from_microseconds(page.after[0]), UUID(bytes=page.after[1]))
    rows = await trust.list_issuers(tx, caller.tenant.id, page.limit + 1, after)
    return page.answer(
        rows,
        lambda row: (microseconds(row.created_at), row.id.bytes),
        lambda row: issuer_shape(row, shared.settings.public_url),
    )


@router.get("/identity/issuers/{issuer_id}", operation_id="get_issuer", responses=refusals(NotFound))
async def get_issuer(
    caller: Reader, tx: RequestTx, shared: Shared, issuer_id: UUID, response: Response
) -> IssuerShape:
    """Show one issuer; its ETag is needed to change it."""
    issuer = await trust.get_issuer(tx, caller.tenant.id, issuer_id)
    response.headers["ETag"] = etag.etag(issuer.version)
    return issuer_shape(issuer, shared.settings.public_url)


@router.patch(
    "/identity/issuers/{issuer_id}",
    operation_id="update_issuer",
    responses=refusals(NotFound, PreconditionFailed, PreconditionRequired, ScopeEscalation),
)
async def update_issuer(
    caller: Writer,
    tx: RequestTx,
    issuer_id: UUID,
    change: IssuerChange,
    request: Request,
    response: Response,
) -> IssuerShape:
    """Change an issuer, with If-Match; living tokens are judged by what stands now, within a second."""
    shared = resources_of(request)
    issuer = await trust.get_issuer(tx, caller.tenant.id, issuer_id, lock=True)
    etag.check_match(request.headers, issuer.version, required=True)
    changes = change.model_dump(exclude_unset=True)
    _check_members(changes)
    _check_maps(caller, (changes.get("role_map") or {}).values(), changes.get("scope_map") or {})
    if "client_secret" in changes:
        secret = changes.pop("client_secret")
        changes["sealed_secret"] = trust.seal_secret(shared.master_key, issuer.id, secret)
    if "algorithms" in changes:
        changes["algorithms"] = tuple(changes["algorithms"])
    _check_rule({"tenant_claim": issuer.tenant_claim, "tenant_value": issuer.tenant_value} | changes)
    changed = await trust.change_issuer(tx, issuer, changes)
    response.headers["ETag"] = etag.etag(changed.version)
    entry = Entry("issuer.update", f"issuer:{issuer.id}", recorded(issuer), recorded(changed))
    await record(tx, caller.actor, entry)
    return issuer_shape(changed, shared.settings.public_url)


@router.delete(
    "/identity/issuers/{issuer_id}",
    status_code=204,
    operation_id="delete_issuer",
    responses=refusals(NotFound, PreconditionFailed, PreconditionRequired),
)
async def delete_issuer(caller: Writer, tx: RequestTx, issuer_id: UUID, request: Request) -> Response:
    """Trust an issuer no more, with If-Match; its tokens end within a second, sessions of its people live on."""
    issuer = await trust.get_issuer(tx, caller.tenant.id, issuer_id, lock=True)
    etag.check_match(request.headers, issuer.version, required=True)
    await trust.delete_issuer(tx, issuer)
    await record(tx, caller.actor, Entry("issuer.delete", f"issuer:{issuer.id}", before=recorded(issuer)))
    return Response(status_code=204)


@router.post("/identity/issuers/{issuer_id}/test", operation_id="test_issuer", responses=refusals(NotFound))
async def examine_issuer(
    caller: Writer, shared: Shared, issuer_id: UUID, wanted: IssuerTestRequest | None = None
) -> IssuerTest:
    """Read what an issuer publishes now and judge a token by it; changes nothing."""
    async with tenant_transaction(shared, caller.tenant) as tx:
        issuer = await trust.get_issuer(tx, caller.tenant.id, issuer_id)
    token = None if wanted is None else wanted.token
    return await try_issuer(shared.outbound, shared.clock, issuer, token)


def _check_issuer(shared: Resources, issuer: str) -> None:
    if issuer == shared.settings.public_url or "?" in issuer:
        raise ValidationFailed(
            "This is no external issuer.",
            errors=[
                {"pointer": "/issuer", "code": "issuer", "detail": "must be another server, without a query"}
            ],
        )
    check_url(shared.outbound, issuer, "/issuer")


def _check_maps(caller: Caller, roles: Iterable[str], scopes: Mapping[str, Iterable[str]]) -> None:
    beyond = [role for role in roles if not caller.scopes.issuperset(ROLES[role])]
    if beyond:
        raise ScopeEscalation(f"The role {beyond[0]} has scopes that you do not have.")
    unknown = sorted({scope for listed in scopes.values() for scope in listed} - SCOPES)
    if unknown:
        raise ValidationFailed(
            "There are unknown scopes.",
            errors=[{"pointer": "/scope_map", "code": "unknown", "detail": name} for name in unknown],
        )


_MAY_BE_NULL = frozenset({"client_id", "client_secret", "scope_claim", "tenant_claim", "tenant_value"})


def _check_members(changes: Mapping[str, Any]) -> None:
    wrong = [name for name, value in changes.items() if value is None and name not in _MAY_BE_NULL]
    if wrong:
        raise ValidationFailed(
            "These members cannot be null.",
            errors=[{"pointer": f"/{name}", "code": "null", "detail": "cannot be null"} for name in wrong],
        )


def _check_rule(after: Mapping[str, Any]) -> None:
    if (after["tenant_claim"] is None) != (after["tenant_value"] is None):
        raise ValidationFailed(
            "tenant_claim and tenant_value go together.",
            errors=[{"pointer": "/tenant_value", "code": "pair", "detail": "goes with tenant_claim"}],
        )
