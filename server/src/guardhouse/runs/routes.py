"""Routes of runs: buy work, watch it, end it, read what came of it."""

import asyncio
import re
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from fastapi import Body, Depends, Query, Request, Response

from guardhouse.foundation import correlation, idempotency
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.idempotency import (
    IdempotencyKeyInvalid,
    IdempotencyKeyRequired,
    IdempotencyKeyReused,
)
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.money import InvalidMoney, InvalidMoneyScale, format_usd
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import (
    JSON_TYPE,
    AskedPage,
    RequestTx,
    Shared,
    api_router,
    system_transaction,
    tenant_transaction,
)
from guardhouse.foundation.resources import Resources
from guardhouse.identity.caller import Caller, Require
from guardhouse.ledger.balance import available_micros
from guardhouse.ledger.fee import minimum_fee
from guardhouse.ledger.hold import InsufficientFunds
from guardhouse.ledger.refund import RefundExceedsCharge
from guardhouse.runs import cancel as cancelling
from guardhouse.runs import links, plan, queries, read
from guardhouse.runs import refund_run as refunding
from guardhouse.runs.admit import (
    Asked,
    ConflictingFields,
    MaxCostRequired,
    PackInputInvalid,
    admit,
    fingerprint_of,
    read_inputs,
)
from guardhouse.runs.cancel import RunFinishing, RunTerminal
from guardhouse.runs.links import Link, SignedUrlExpired, SignedUrlInvalid
from guardhouse.runs.packs.registry import UnknownPack, find_pack, packs
from guardhouse.runs.plan import MaxCostExceeded, MaxCostTooLow, PackTypeNotAllowed
from guardhouse.runs.queries import RunFilter
from guardhouse.runs.read import ResultDamaged, RunGone, RunHasNoResult, RunNotFinished
from guardhouse.runs.resolve_audit import NotInAudit, resolve_audit
from guardhouse.runs.store import NewRun, Run
from guardhouse.runs.submit import Submitter, Wanted
from guardhouse.runs.wire import (
    AuditResolutionRequest,
    PackList,
    PackShape,
    QuoteRequest,
    QuoteShape,
    RefundRequest,
    RefundShape,
    RunList,
    RunQuery,
    RunReceipt,
    RunRequest,
    RunShape,
    pack_shape,
    receipt_body,
    run_shape,
)
from guardhouse.usage.limits import Limiter

router = api_router("runs")
Reader = Annotated[Caller, Depends(Require("runs:read"))]
Writer = Annotated[Caller, Depends(Require("runs:write"))]
Payer = Annotated[Caller, Depends(Require("ledger:write"))]
Platform = Annotated[Caller, Depends(Require("platform"))]
POLL_SECONDS: Final = 0.25
MOST_WAIT: Final = 30
_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "The same one on each retry of this run.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
_WAIT: Final = re.compile(r"(?:^|,)\s*wait\s*=\s*(\d{1,3})\s*(?:,|;|$)", re.IGNORECASE)
_ASYNC: Final = re.compile(r"(?:^|,)\s*respond-async\s*(?:,|;|$)", re.IGNORECASE)


async def submitter_of(request: Request) -> Submitter:
    """Return what takes runs in, in this process."""
    found: Submitter = request.app.state.run_submitter
    return found


@router.post(
    "/runs",
    status_code=201,
    operation_id="create_run",
    openapi_extra={"parameters": [_KEY]},
    responses={
        201: {"model": RunReceipt, "description": "The run is queued and its money held."},
        202: {"model": RunReceipt, "description": "As 201, for `Prefer: respond-async`."},
        **refusals(
            IdempotencyKeyRequired,
            IdempotencyKeyInvalid,
            IdempotencyKeyReused,
            InsufficientFunds,
            PackTypeNotAllowed,
            MaxCostTooLow,
            MaxCostExceeded,
            UnknownPack,
            PackInputInvalid,
            MaxCostRequired,
            ConflictingFields,
            InvalidMoney,
            InvalidMoneyScale,
        ),
    },
)
async def create_run(
    request: Request,
    caller: Writer,
    shared: Shared,
    wanted: RunRequest,
    takes: Annotated[Submitter, Depends(submitter_of)],
) -> Response:
    """Buy work: hold its ceiling and queue it, in one commit.

    What is not used comes back at its end. The same key with the same body is the same run, and is answered with the
    same bytes; a refusal leaves its key unused.
    """
    key = idempotency.read_key(request.headers.getlist("idempotency-key"))
    if key is None:
        raise IdempotencyKeyRequired("A run is taken with an Idempotency-Key only.")
    asked = Asked(key, fingerprint_of(await request.json()), caller.credential_id)
    now = shared.clock.now()
    limiter: Limiter = request.app.state.limiter
    given = await limiter.plan_of(caller.tenant.id)
    terms = plan.terms_of(given.name, given.version)
    run, hold = admit(wanted, asked, terms, new_id(), now)
    prefix = request.url.path.removesuffix("/runs")
    taken = await takes.submit(caller.tenant, _wanted(run, hold, wanted, prefix))
    return _receipt(request, taken.receipt, replayed=taken.replayed)


def _wanted(run: NewRun, hold: int, wanted: RunRequest, prefix: str) -> Wanted:
    meta = wanted.meta.model_dump(exclude_none=True) if wanted.meta else {}
    href = f"{prefix}/runs/{run.run_id}"
    return Wanted(
        run,
        hold,
        lambda left: msgspec.json.encode(receipt_body(run, hold, left, meta, href)),
        meta.get("trace_id"),
        correlation.current(),
    )


def _receipt(request: Request, body: bytes, *, replayed: bool) -> Response:
    told = msgspec.json.decode(body)
    cost = told["cost"]
    headers = _costs(
        cost["reserved_usd"], cost["used_usd"], cost["minimum_fee_usd"], cost["budget_remaining_usd"]
    )
    headers["Location"] = told["poll"]["href"]
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    later = _ASYNC.search(request.headers.get("prefer", "")) is not None
    if later:
        headers["Preference-Applied"] = "respond-async"
    return Response(body, status_code=202 if later else 201, media_type=JSON_TYPE, headers=headers)


def _costs(reserved: str, used: str, fee: str, left: str) -> dict[str, str]:
    return {
        "X-Guardhouse-Cost-Reserved": reserved,
        "X-Guardhouse-Cost-Used": used,
        "X-Guardhouse-Cost-Minimum-Fee": fee,
        "X-Guardhouse-Budget-Remaining": left,
    }


@router.get("/runs", operation_id="list_runs", response_model=RunList)
async def list_runs(
    caller: Reader, tx: RequestTx, page: AskedPage, wanted: Annotated[RunQuery, Query()]
) -> dict[str, Any]:
    """List runs, newest first; expired ones are shown with their costs."""
    before = None if page.after is None else UUID(bytes=page.after[0])
    rows = await queries.list_runs(
        tx, caller.tenant.id, RunFilter(**wanted.model_dump()), before, page.limit + 1
    )
    left = await available_micros(tx, caller.tenant.id)
    return page.answer(rows, lambda run: (run.run_id.bytes,), lambda run: run_shape(run, left))


@router.get("/runs/{run_id}", operation_id="get_run", responses=refusals(NotFound, RunGone))
async def get_run(
    request: Request, caller: Reader, shared: Shared, run_id: UUID, response: Response
) -> RunShape:
    """Show a run. With `Prefer: wait=30` the answer comes at its next change, or after so many seconds."""
    wait = _WAIT.search(request.headers.get("prefer", ""))
    seconds = min(MOST_WAIT, int(wait.group(1))) if wait else 0
    run = await _read(shared, caller, run_id)
    loop = asyncio.get_running_loop()
    until, version = loop.time() + seconds, run.version
    while run.is_open and run.version == version and loop.time() < until:
        await asyncio.sleep(POLL_SECONDS)
        run = await _read(shared, caller, run_id)
    async with tenant_transaction(shared, caller.tenant) as tx:
        left = await available_micros(tx, caller.tenant.id)
    fee = minimum_fee(run.hold, run.quote_micros)
    response.headers.update(
        _costs(format_usd(run.hold), format_usd(run.charged or 0), format_usd(fee), format_usd(left))
    )
    if wait:
        response.headers["Preference-Applied"] = f"wait={seconds}"
    return run_shape(run, left, read.result_of(shared, run, shared.clock.now()))


async def _read(shared: Resources, caller: Caller, run_id: UUID) -> Run:
    async with tenant_transaction(shared, caller.tenant) as tx:
        return await read.get_run(tx, caller.tenant.id, run_id, shared.clock.now())


@router.post(
    "/runs/{run_id}/cancel",
    operation_id="cancel_run",
    responses={
        202: {"model": RunShape, "description": "Its worker has been asked to stop."},
        **refusals(NotFound, RunTerminal, RunFinishing),
    },
)
async def cancel_run(
    caller: Writer, tx: RequestTx, shared: Shared, run_id: UUID, response: Response
) -> RunShape:
    """End a run: a queued one at once and free, one at work as soon as its worker hears of it. Repeatable."""
    run = await cancelling.cancel(tx, caller.tenant.id, run_id, shared.clock.now())
    response.status_code = 200 if run.status == "CANCELLED" else 202
    left = await available_micros(tx, caller.tenant.id)
    return run_shape(run, left)


@router.get(
    "/runs/{run_id}/result",
    operation_id="get_run_result",
    response_class=Response,
    responses={
        200: {"content": {JSON_TYPE: {"schema": {"type": "object"}}}, "description": "The stored bytes."},
        **refusals(NotFound, RunGone, RunNotFinished, RunHasNoResult, ResultDamaged),
    },
)
async def get_run_result(caller: Reader, shared: Shared, run_id: UUID) -> Response:
    """Read the result of a completed run: the very bytes whose SHA-256 the run tells."""
    run = await _read(shared, caller, run_id)
    return await _object(shared, read.result_link(run, shared.clock.now()))


@router.get(
    "/objects/{token}",
    operation_id="get_object",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}}, "description": "The stored bytes."},
        **refusals(SignedUrlInvalid, SignedUrlExpired, NotFound, ResultDamaged),
    },
)
async def get_object(shared: Shared, token: str) -> Response:
    """Read an object by a signed link; whoever holds the link may, for its ten minutes."""
    return await _object(shared, links.read(shared, token, shared.clock.now()))


async def _object(shared: Resources, link: Link) -> Response:
    content = await read.read_object(shared.objects, link)
    headers = {
        "ETag": f'"{link.sha256}"',
        "Content-Digest": f"sha-256=:{links.digest_text(link.sha256)}:",
        "Cache-Control": "private, no-store",
        "Content-Disposition": f'attachment; filename="{link.name}"',
        "X-Content-Type-Options": "nosniff",
    }
    return Response(content, media_type=link.media_type, headers=headers)


@router.post(
    "/runs/{run_id}/refunds",
    status_code=201,
    operation_id="refund_run",
    responses=refusals(NotFound, RefundExceedsCharge),
)
async def refund_run(
    caller: Payer, tx: RequestTx, shared: Shared, run_id: UUID, wanted: RefundRequest
) -> RefundShape:
    """Give back what a run was charged, in part or whole."""
    now = shared.clock.now()
    run, refund_id = await refunding.refund_run(
        tx, caller.actor, run_id, wanted.amount_usd, wanted.reason, now
    )
    left = await available_micros(tx, caller.tenant.id)
    return RefundShape(refund_id=refund_id, run=run_shape(run, left))


@router.post(
    "/runs/{run_id}/audit-resolution",
    operation_id="resolve_run_audit",
    responses=refusals(NotFound, NotInAudit),
)
async def resolve_run_audit(
    caller: Platform, shared: Shared, run_id: UUID, wanted: AuditResolutionRequest
) -> RunShape:
    """Decide about the money of a run whose stored result contradicts its row, as the staff of the platform."""
    async with system_transaction(shared) as tx:
        run = await resolve_audit(tx, caller.actor, run_id, wanted.action, wanted.note, shared.clock.now())
        left = await available_micros(tx, run.tenant_id)
    return run_shape(run, left)


@router.get("/packs", operation_id="list_packs")
async def list_packs(_caller: Reader) -> PackList:
    """List the packs of this installation with their schemas and prices."""
    return PackList(data=[pack_shape(one) for one in packs().values()])


@router.get("/packs/{pack_type}", operation_id="get_pack", responses=refusals(NotFound))
async def get_pack(_caller: Reader, pack_type: str) -> PackShape:
    """Show a pack: what it takes, what it gives, what it costs."""
    return pack_shape(find_pack(pack_type))


@router.post(
    "/packs/{pack_type}/quote",
    operation_id="quote_run",
    responses=refusals(NotFound, PackInputInvalid),
)
async def quote_run(_caller: Reader, pack_type: str, wanted: Annotated[QuoteRequest, Body()]) -> QuoteShape:
    """Say what a run with these inputs would cost; nothing is held."""
    installed = find_pack(pack_type)
    quote = installed.pack.quote(read_inputs(installed, wanted.inputs))
    bound = quote.upper_bound
    return QuoteShape(
        quote_usd=format_usd(quote.expected),
        upper_bound_usd=None if bound is None else format_usd(bound),
        price_version=installed.pack.price.version,
    )
