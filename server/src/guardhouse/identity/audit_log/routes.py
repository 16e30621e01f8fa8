"""Routes of the audit log: read, verify, export; the keys that sign it are public."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Query
from fastapi.responses import StreamingResponse

from guardhouse.audit import read, signing_key, verify
from guardhouse.audit.export import ExportWriter, Span
from guardhouse.audit.record import Actor, Entry, record
from guardhouse.audit.store import EntryFilter
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import NotFound, ValidationFailed
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import (
    AskedPage,
    RequestTx,
    Shared,
    api_router,
    system_transaction,
    tenant_transaction,
)
from guardhouse.foundation.resources import Resources
from guardhouse.identity import tenants
from guardhouse.identity.audit_log.wire import (
    AuditHeadList,
    AuditKeyList,
    AuditList,
    AuditQuery,
    AuditVerdict,
    entry_shape,
    head_shape,
    key_shape,
    verdict_shape,
)
from guardhouse.identity.caller import Caller, Require

router = api_router("audit")
# What whoever pays sees beside what it did itself: the first words of actions about plans and money.
BILLING_AREA: Final = ("plan", "usage", "ledger", "budget")
EXPORTED_AT_ONCE: Final = 2000
Reader = Annotated[Caller, Depends(Require("audit:read"))]
OwnReader = Annotated[Caller, Depends(Require("audit:read", "audit:own"))]
Platform = Annotated[Caller, Depends(Require("platform"))]


@dataclass(frozen=True, slots=True)
class AuditRange:
    """Which entries, by number; None: from the first, to the last."""

    first: int | None
    last: int | None


async def asked_range(
    first: Annotated[
        int | None, Query(alias="from", ge=1, le=2**62, description="The first entry; absent: of all.")
    ] = None,
    last: Annotated[
        int | None, Query(alias="to", ge=1, le=2**62, description="The last entry; absent: of all.")
    ] = None,
) -> AuditRange:
    """Read ``from`` and ``to``."""
    return AuditRange(first, last)


AskedRange = Annotated[AuditRange, Depends(asked_range)]


class NdjsonResponse(StreamingResponse):
    """A stream of JSON Lines."""

    media_type = "application/x-ndjson"


@router.get("/audit", operation_id="list_audit", response_model=AuditList)
async def list_audit(
    caller: OwnReader, tx: RequestTx, page: AskedPage, wanted: Annotated[AuditQuery, Query()]
) -> dict[str, Any]:
    """List what was done, newest first: all of it, or with `audit:own` one's own doings and those about money."""
    own = "audit:read" not in caller.scopes
    shown = _filter(wanted, area=BILLING_AREA if own else None, own_actor=caller.actor.name if own else None)
    rows = await read.list_entries(tx, caller.tenant.id, shown, page.limit + 1, _after(page.after))
    return page.answer(rows, lambda entry: (entry.seq,), entry_shape)


@router.get(
    "/admin/tenants/{tenant_id}/audit",
    operation_id="list_tenant_audit",
    response_model=AuditList,
    responses=refusals(NotFound),
)
async def list_tenant_audit(
    caller: Platform,
    shared: Shared,
    page: AskedPage,
    tenant_id: UUID,
    wanted: Annotated[AuditQuery, Query()],
) -> dict[str, Any]:
    """List what was done in one tenant, for the platform's staff; that tenant's log says who has read it."""
    shown = _filter(wanted)
    async with system_transaction(shared) as tx:
        if await tenants.find_by_id(tx, tenant_id) is None:
            raise NotFound("There is no such tenant.")
        rows = await read.list_entries(tx, tenant_id, shown, page.limit + 1, _after(page.after))
        reader = Actor(tenant_id, f"platform:{caller.actor.name}", caller.actor.credential)
        asked = wanted.model_dump(mode="json", exclude_none=True)
        await record(tx, reader, Entry("audit.read", f"tenant:{tenant_id}", after={"filter": asked}))
    return page.answer(rows, lambda entry: (entry.seq,), entry_shape)


@router.get("/audit/verify", operation_id="verify_audit")
async def verify_audit(caller: Reader, shared: Shared, wanted: AskedRange) -> AuditVerdict:
    """Compute the chain anew and compare it with its head and with every signed head; names the first bad entry."""
    async with system_transaction(shared) as tx:  # the tenant's role does not see the keys
        keys = await signing_key.trusted_keys(tx, shared.master_key)
    async with tenant_transaction(shared, caller.tenant) as tx:
        walk = await verify.verify(tx, caller.tenant.id, keys, first=wanted.first, last=wanted.last)
    return verdict_shape(walk)


@router.get("/audit/heads", operation_id="list_audit_heads", response_model=AuditHeadList)
async def list_audit_heads(caller: Reader, tx: RequestTx, page: AskedPage) -> dict[str, Any]:
    """List signed heads, oldest first: keep them elsewhere and nobody can rewrite the log unseen."""
    rows = await read.list_signed_heads(tx, caller.tenant.id, page.limit + 1, _after(page.after) or 0)
    return page.answer(rows, lambda head: (head.seq,), head_shape)


@router.get("/audit/keys", operation_id="list_audit_keys")
async def list_audit_keys(shared: Shared) -> AuditKeyList:
    """Show the public halves of the keys that sign heads and exports, for anybody."""
    async with system_transaction(shared) as tx:
        keys = await signing_key.trusted_keys(tx, shared.master_key)
    newest_first = sorted(keys.values(), key=lambda key: (key.created_at, key.id), reverse=True)
    return AuditKeyList(keys=[key_shape(key) for key in newest_first])


@router.get(
    "/audit/export",
    operation_id="export_audit",
    response_class=NdjsonResponse,
    responses={
        200: {
            "description": "JSON Lines: what this is, the entries, and a signature over every byte before it.",
            "content": {NdjsonResponse.media_type: {"schema": {"type": "string"}}},
        }
    },
)
async def export_audit(caller: Reader, shared: Shared, wanted: AskedRange) -> NdjsonResponse:
    """Export entries so that they can be verified offline; that somebody did is recorded after them."""
    async with system_transaction(shared) as tx:
        key = await signing_key.current_key(tx, shared)
    async with tenant_transaction(shared, caller.tenant) as tx:
        span = await _span(tx, caller, wanted)
        after = {"from": span.first, "to": span.last}
        await record(tx, caller.actor, Entry("audit.export", "audit:log", after=after))
    writer = ExportWriter(span, key, shared.clock.now())
    name = f"audit-{span.tenant}-{span.first}-{span.last}.jsonl"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return NdjsonResponse(_lines(shared, caller.tenant, span, writer), headers=headers)


async def _span(tx: Tx, caller: Caller, wanted: AuditRange) -> Span:
    extent = await read.extent(tx, caller.tenant.id)
    first, last = wanted.first or 1, extent.head_seq if wanted.last is None else wanted.last
    if last > extent.head_seq or first > last + 1:
        raise ValidationFailed(
            f"The log has the entries 1 to {extent.head_seq}.",
            errors=[{"parameter": "to", "code": "range", "detail": "not in the log"}],
        )
    before = await read.hash_before(tx, caller.tenant.id, first)
    return Span(caller.tenant.id, caller.tenant_slug, first, last, before)


async def _lines(
    shared: Resources, tenant: TenantKey, span: Span, writer: ExportWriter
) -> AsyncIterator[bytes]:
    """Yield the export; no transaction is open while the client takes its time."""
    yield writer.head()
    for first in range(span.first, span.last + 1, EXPORTED_AT_ONCE):
        last = min(first + EXPORTED_AT_ONCE - 1, span.last)
        async with tenant_transaction(shared, tenant) as tx:
            entries = await read.read_span(tx, tenant.id, first, last)
        yield writer.entries(entries)
    yield writer.signature()


def _filter(
    wanted: AuditQuery, *, area: tuple[str, ...] | None = None, own_actor: str | None = None
) -> EntryFilter:
    wanted.check_order()
    return EntryFilter(
        wanted.actor, wanted.action, wanted.target, wanted.since, wanted.until, area, own_actor
    )


def _after(place: list[Any] | None) -> int | None:
    return None if place is None else int(place[0])
