"""Routes of usage: requests by key, endpoint and day, the plan and what is left of it, the calling key's profile."""

from datetime import date, timedelta
from typing import Annotated, Final, cast
from uuid import UUID

from fastapi import Depends, Query, Request

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.errors import NotFound, ValidationFailed
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import RequestTx, Shared, api_router
from guardhouse.identity import keys
from guardhouse.identity.caller import Caller, Require
from guardhouse.usage import queries
from guardhouse.usage.limits import Limiter
from guardhouse.usage.queries import BEGINNING, By, Span
from guardhouse.usage.wire import (
    Day,
    PlanUsage,
    ProfileShape,
    RequestUsage,
    group_shape,
    limit_shapes,
    sums_shape,
)

MOST_DAYS: Final = 400
USUAL_DAYS: Final = 30
router = api_router("usage")
doors = api_router("usage", prefix="")

Reader = Annotated[Caller, Depends(Require("usage:read", "usage:own"))]


async def limiter_of(request: Request) -> Limiter:
    """Return the limits of this process."""
    return cast("Limiter", request.app.state.limiter)


async def days_asked(
    shared: Shared,
    first: Annotated[
        Day | None, Query(alias="from", description="First UTC day; absent: 29 days before `to`.")
    ] = None,
    last: Annotated[
        Day | None, Query(alias="to", description="Last UTC day, included; absent: today.")
    ] = None,
) -> tuple[date, date]:
    """Read a span of whole days.

    Raises:
        ValidationFailed: ``from`` is after ``to``, before 2000, or the span is longer than 400 days.
    """
    last = last or shared.clock.now().date()
    first = first or max(BEGINNING, last - timedelta(days=USUAL_DAYS - 1) if last > BEGINNING else last)
    if first > last:
        raise _wrong("from", "order", "must not be after to")
    if first < BEGINNING:
        raise _wrong("from", "range", f"must not be before {BEGINNING}")
    if (last - first).days >= MOST_DAYS:
        raise _wrong("from", "range", f"at most {MOST_DAYS} days at once")
    return first, last


@router.get("/usage/requests", operation_id="list_request_usage", responses=refusals(ValidationFailed))
async def list_request_usage(
    caller: Reader,
    tx: RequestTx,
    days: Annotated[tuple[date, date], Depends(days_asked)],
    by: Annotated[By, Query(description="What each line stands for.")] = "day",
) -> RequestUsage:
    """Sum the requests of whole UTC days by key, endpoint or day.

    Every answered request counts, also those refused; a request appears about a second after its answer. A caller
    with `usage:own` alone sees its own requests.
    """
    span = Span(caller.tenant.id, *days, None if "usage:read" in caller.scopes else caller.credential_id)
    groups = await queries.read_groups(tx, span, by)
    members = {"key": ("kind", "credential_id"), "endpoint": ("method", "endpoint"), "day": ("day",)}[by]
    return RequestUsage(
        by=by,
        first=str(span.first),
        last=str(span.last),
        data=[
            group_shape(sums, **dict(zip(members, map(str, values), strict=True))) for values, sums in groups
        ],
        total=sums_shape(queries.add_up(sums for _, sums in groups)),
    )


@router.get("/usage/plan", operation_id="get_usage_plan")
async def get_usage_plan(caller: Reader, limiter: Annotated[Limiter, Depends(limiter_of)]) -> PlanUsage:
    """Show the tenant's plan and what is left of every limit on this caller.

    Without Redis each API process keeps its share, and `left` is of the share of the process that answers.
    """
    plan, verdict = await limiter.look(caller)
    return PlanUsage(
        plan=plan.name,
        requests_per_minute=plan.per_minute,
        requests_per_day=plan.per_day,
        limits=limit_shapes(verdict),
    )


@doors.get("/auth/profile", operation_id="get_profile", responses=refusals(NotFound))
async def get_profile(caller: Reader, tx: RequestTx, shared: Shared) -> ProfileShape:
    """Show the calling key and what it has used; a caller that is no key gets 404.

    `malicious_detections` and `decisions` count what the log keeps, ninety days.
    """
    if caller.kind != "key":
        raise NotFound("The caller is no API key.")
    key = await keys.get_key(tx, caller.tenant.id, UUID(caller.credential_id))
    now = shared.clock.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    total = await queries.read_total(tx, Span(caller.tenant.id, BEGINNING, now.date(), caller.credential_id))
    verdicts = await queries.count_verdicts(
        tx, caller.tenant.id, now - timedelta(days=90), caller.credential_id
    )
    return ProfileShape(
        key_id=str(key.id),
        name=key.name,
        requests_today=await queries.count_requests(tx, caller.tenant.id, caller.credential_id, midnight),
        requests_this_minute=await queries.count_requests(
            tx, caller.tenant.id, caller.credential_id, now - timedelta(minutes=1)
        ),
        rate_limit_per_minute=caller.limits.minute,
        rate_limit_per_day=caller.limits.day,
        total_requests=total.requests,
        malicious_detections=sum(verdicts["hours"].values()),
        last_used_at=rfc3339(key.last_used_at) if key.last_used_at else None,
        policy=str(key.policy_id) if key.policy_id else None,
        decisions=verdicts["decisions"],
    )


def _wrong(parameter: str, code: str, detail: str) -> ValidationFailed:
    return ValidationFailed(
        f"{parameter} {detail}.", errors=[{"parameter": parameter, "code": code, "detail": detail}]
    )
