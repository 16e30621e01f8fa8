"""Routes of money: the balance, what moved, what is held, whether the books are whole; and money that comes in."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Query, Response

from guardhouse.audit.record import Actor
from guardhouse.foundation.errors import NotFound, Problem, ValidationFailed
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router, system_transaction
from guardhouse.identity import tenants
from guardhouse.identity.caller import Caller, Require
from guardhouse.ledger import queries, store
from guardhouse.ledger.deposit import Payment, PaymentRefReused
from guardhouse.ledger.statement import MOST_DAYS, StatementTooLong, statement
from guardhouse.ledger.top_up import top_up
from guardhouse.ledger.verify import verify
from guardhouse.ledger.wire import (
    BalanceShape,
    DepositList,
    HoldList,
    TopUpRequest,
    TopUpShape,
    TransferKind,
    TransferList,
    VerificationShape,
    balance_shape,
    deposit_shape,
    hold_shape,
    top_up_shape,
    transfer_shape,
    verification_shape,
)

router = api_router("ledger")
BudgetReader = Annotated[Caller, Depends(Require("ledger:read", "budget:read"))]
Reader = Annotated[Caller, Depends(Require("ledger:read"))]
Writer = Annotated[Caller, Depends(Require("ledger:write"))]
Platform = Annotated[Caller, Depends(Require("platform"))]
CSV: Final = "text/csv"


class SelfTopUpOff(Problem):
    """Tenants of this installation do not credit themselves."""

    status, code, title = 403, "self_top_up_off", "Tenants do not top up themselves here"
    remediation = "Ask whoever runs this installation, or set GUARDHOUSE_SELF_TOP_UP=1 where it is your own."


@router.get("/balance", operation_id="get_balance")
async def get_balance(caller: BudgetReader, tx: RequestTx, shared: Shared) -> BalanceShape:
    """Show the prepaid money: what is available, what open runs hold, what was spent."""
    balance = await store.read_balance(tx, caller.tenant.id)
    holds = await queries.count_open_holds(tx, caller.tenant.id)
    return balance_shape(balance, holds, shared.clock.now())


@router.get("/ledger/transfers", operation_id="list_transfers", response_model=TransferList)
async def list_transfers(
    caller: Reader,
    tx: RequestTx,
    page: AskedPage,
    run_id: Annotated[UUID | None, Query(description="Of this run alone.")] = None,
    kind: Annotated[TransferKind | None, Query(description="Of this kind alone.")] = None,
) -> dict[str, Any]:
    """List what moved between the accounts, newest first; numbers have no gap."""
    before = None if page.after is None else int(page.after[0])
    rows = await queries.list_transfers(tx, caller.tenant.id, before, page.limit + 1, run_id, kind)
    return page.answer(rows, lambda one: (one.seq,), transfer_shape)


@router.get("/ledger/holds", operation_id="list_holds", response_model=HoldList)
async def list_holds(caller: Reader, tx: RequestTx, page: AskedPage) -> dict[str, Any]:
    """List the money that waits for the end of a run, oldest first."""
    after = None if page.after is None else UUID(bytes=page.after[0])
    rows = await queries.list_open_holds(tx, caller.tenant.id, after, page.limit + 1)
    return page.answer(rows, lambda one: (one.run_id.bytes,), hold_shape)


@router.get(
    "/ledger/statement",
    operation_id="get_statement",
    response_class=Response,
    responses={
        200: {"content": {CSV: {"schema": {"type": "string"}}}, "description": "Comma-separated values."},
        **refusals(ValidationFailed, StatementTooLong),
    },
)
async def get_statement(
    caller: Reader,
    tx: RequestTx,
    shared: Shared,
    first: Annotated[
        date | None, Query(alias="from", description="First UTC day; absent: of the month of `to`.")
    ] = None,
    last: Annotated[
        date | None, Query(alias="to", description="Last UTC day, included; absent: today.")
    ] = None,
) -> Response:
    """Write a statement: every transfer of a span of days with the balance after it, as CSV."""
    last = last or shared.clock.now().date()
    first = first or last.replace(day=1)
    if first > last or (last - first).days >= MOST_DAYS:
        detail = "must not be after `to`" if first > last else f"at most {MOST_DAYS} days at once"
        raise ValidationFailed(
            f"from {detail}.", errors=[{"parameter": "from", "code": "range", "detail": detail}]
        )
    begin = datetime.combine(first, time(), UTC)
    text = await statement(
        tx, caller.tenant.id, begin, datetime.combine(last, time(), UTC) + timedelta(days=1)
    )
    name = f"statement-{first}-{last}.csv"
    return Response(
        text,
        media_type=f"{CSV}; charset=utf-8; header=present",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@router.get("/ledger/verification", operation_id="verify_ledger")
async def verify_ledger(caller: Reader, tx: RequestTx, shared: Shared) -> VerificationShape:
    """Recompute the books from their rows: every hash of the chain, every number, every account."""
    return verification_shape(await verify(tx, caller.tenant.id), shared.clock.now())


@router.get("/top-ups", operation_id="list_top_ups", response_model=DepositList)
async def list_top_ups(caller: Reader, tx: RequestTx, page: AskedPage) -> dict[str, Any]:
    """List the money that came in, newest first."""
    before = None if page.after is None else UUID(bytes=page.after[0])
    rows = await queries.list_deposits(tx, caller.tenant.id, before, page.limit + 1)
    return page.answer(rows, lambda one: (one.deposit_id.bytes,), deposit_shape)


@router.post(
    "/top-ups",
    status_code=201,
    operation_id="create_top_up",
    responses={
        200: {"model": TopUpShape, "description": "The payment was in the books already."},
        **refusals(SelfTopUpOff, PaymentRefReused),
    },
)
async def create_top_up(
    caller: Writer, tx: RequestTx, shared: Shared, wanted: TopUpRequest, response: Response
) -> TopUpShape:
    """Credit a payment to one's own balance, where the installation allows it; always to a test tenant.

    The same `payment_ref` with the same amount is the same payment and changes nothing.
    """
    if caller.env != "test" and not shared.settings.self_top_up:
        raise SelfTopUpOff("Tenants of this installation do not credit themselves.")
    payment = Payment("self", wanted.payment_ref, wanted.amount_usd, method=wanted.method, note=wanted.note)
    made = await top_up(tx, caller.actor, payment, shared.clock.now())
    response.status_code = 201 if made.created else 200
    balance = await store.read_balance(tx, caller.tenant.id)
    return top_up_shape(made, wanted.payment_ref, balance)


@router.post(
    "/admin/tenants/{tenant_id}/top-ups",
    status_code=201,
    operation_id="create_tenant_top_up",
    responses={
        200: {"model": TopUpShape, "description": "The payment was in the books already."},
        **refusals(NotFound, PaymentRefReused),
    },
)
async def create_tenant_top_up(
    caller: Platform, shared: Shared, tenant_id: UUID, wanted: TopUpRequest, response: Response
) -> TopUpShape:
    """Credit a payment to a tenant, as the staff of the platform."""
    async with system_transaction(shared) as tx:
        if await tenants.find_by_id(tx, tenant_id) is None:
            raise NotFound("There is no such tenant.")
        payment = Payment(
            "staff", wanted.payment_ref, wanted.amount_usd, method=wanted.method, note=wanted.note
        )
        staff = Actor(tenant_id, f"platform:{caller.actor.name}", caller.actor.credential)
        made = await top_up(tx, staff, payment, shared.clock.now())
        balance = await store.read_balance(tx, tenant_id)
    response.status_code = 201 if made.created else 200
    return top_up_shape(made, wanted.payment_ref, balance)
