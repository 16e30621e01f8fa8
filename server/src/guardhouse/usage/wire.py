"""Shapes of usage, plans and the figures of administrators on the wire.

What detections tell (decisions, threat types, channels, malicious items) is read from the same log.
"""

import re
from datetime import date, datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination
from guardhouse.identity.store import ApiKey
from guardhouse.usage.plans import Plan
from guardhouse.usage.policy import Verdict
from guardhouse.usage.queries import Recent, Sums

_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOST: Final = 1_000_000_000


def _read_day(value: object) -> object:
    if isinstance(value, str):
        if not _DAY.fullmatch(value):
            raise ValueError("must be a day, as in 2026-01-31")
        return date.fromisoformat(value)
    return value


Day = Annotated[date, BeforeValidator(_read_day)]
Count = Annotated[int, Field(ge=0)]
Milliseconds = Annotated[float, Field(ge=0)]


class SumsShape(BaseModel):
    """What requests come to; `limited` are the 429, which are among the client errors."""

    requests: Count
    client_errors: Count
    server_errors: Count
    limited: Count
    items: Count
    request_bytes: Count
    mean_response_ms: Milliseconds | None


class GroupShape(SumsShape):
    """One line: the members of what was asked `by` are set, the others are null."""

    day: Annotated[str | None, Field(json_schema_extra={"format": "date"})] = None
    kind: Annotated[str | None, Field(description="`key`, `client`, `user`, `agent` or `ticket`.")] = None
    credential_id: str | None = None
    method: str | None = None
    endpoint: Annotated[str | None, Field(description="Template of the path.")] = None


class RequestUsage(BaseModel):
    """Requests of whole UTC days; the lines add up to the total."""

    model_config = ConfigDict(validate_by_name=True)

    by: Literal["key", "endpoint", "day"]
    first: Annotated[str, Field(alias="from", json_schema_extra={"format": "date"})]
    last: Annotated[str, Field(alias="to", json_schema_extra={"format": "date"})]
    data: list[GroupShape]
    total: SumsShape


class LimitShape(BaseModel):
    """One limit on this caller and what is left of it now, as this process knows."""

    name: str
    limit: Count
    window_seconds: Count
    left: Count


class PlanUsage(BaseModel):
    """The tenant's plan, and every limit that holds for this caller."""

    plan: str
    requests_per_minute: int | None
    requests_per_day: int | None
    limits: list[LimitShape]


class PlanRequest(BaseModel):
    """What `PUT /admin/plans/{name}` takes; null = no ceiling."""

    model_config = ConfigDict(extra="forbid", title="PlanRequest")

    requests_per_minute: Annotated[int, Field(ge=1, le=_MOST)] | None = None
    requests_per_day: Annotated[int, Field(ge=1, le=_MOST)] | None = None


class PlanShape(BaseModel):
    """A plan: the ceilings of a tenant."""

    name: str
    requests_per_minute: int | None
    requests_per_day: int | None
    version: int


class PlanList(BaseModel):
    """Every plan."""

    data: list[PlanShape]


class TenantPlanRequest(BaseModel):
    """What `PUT /admin/tenants/{tenant_id}/plan` takes."""

    model_config = ConfigDict(extra="forbid", title="TenantPlanRequest")

    plan: Annotated[str, Field(min_length=1, max_length=63, examples=["basic"])]


class Figures(SumsShape):
    """Sums with percentiles of the time until an answer begins; null without requests."""

    error_rate: Annotated[float, Field(ge=0, le=1, description="Share of 5xx.")]
    p50_ms: Milliseconds | None
    p95_ms: Milliseconds | None
    p99_ms: Milliseconds | None


class StatsShape(BaseModel):
    """Totals and the last 24 hours of the tenant."""

    total: SumsShape
    last_24h: Figures
    active_keys: Annotated[int, Field(ge=0, description="API keys that called in the last 24 hours.")]
    by_decision: dict[str, int]
    by_threat_type: dict[str, int]
    by_channel: dict[str, int]


class UserShape(BaseModel):
    """An API key as its administrator sees it."""

    id: str
    name: str
    role: str
    state: str
    prefix: str
    owner: Annotated[str, Field(description="Who made it.")]
    last_used_at: str | None
    requests_24h: Count
    requests_total: Count
    malicious_24h: Count


class UserList(BaseModel):
    """One page of keys."""

    data: list[UserShape]
    pagination: Pagination


class UserUsage(BaseModel):
    """A key's days and what they come to."""

    user: UserShape
    days: list[GroupShape]
    total: SumsShape


class ThreatsShape(BaseModel):
    """What detections found since an instant."""

    since: str
    by_threat_type: dict[str, int]
    by_decision: dict[str, int]
    malicious_by_hour: dict[str, int]


class RouteFigures(Figures):
    """The figures of one operation."""

    method: str
    endpoint: str


class PerformanceShape(BaseModel):
    """Figures by operation since an instant, the busiest first."""

    since: str
    data: list[RouteFigures]


class ProfileShape(BaseModel):
    """The calling key, in the shape of the older API; `policy` is null where the tenant's `default` judges."""

    key_id: str
    name: str
    requests_today: Count
    requests_this_minute: Count
    rate_limit_per_minute: int | None
    rate_limit_per_day: int | None
    total_requests: Count
    malicious_detections: Count
    last_used_at: str | None
    policy: str | None
    decisions: dict[str, int]


def sums_shape(sums: Sums) -> SumsShape:
    """Return the public form of sums."""
    return SumsShape(**_sums(sums))


def group_shape(sums: Sums, **named: str) -> GroupShape:
    """Return one line."""
    return GroupShape(**_sums(sums), **named)


def figures_shape(recent: Recent) -> Figures:
    """Return the public form of what came lately."""
    return Figures(**_figures(recent))


def route_shape(method: str, endpoint: str, recent: Recent) -> RouteFigures:
    """Return the figures of one operation."""
    return RouteFigures(**_figures(recent), method=method, endpoint=endpoint)


def plan_shape(plan: Plan) -> PlanShape:
    """Return the public form of a plan."""
    return PlanShape(
        name=plan.name,
        requests_per_minute=plan.per_minute,
        requests_per_day=plan.per_day,
        version=plan.version,
    )


def limit_shapes(verdict: Verdict) -> list[LimitShape]:
    """Return every limit of a verdict."""
    return [
        LimitShape(name=policy.name, limit=policy.limit, window_seconds=policy.seconds, left=reading.left)
        for policy, reading in zip(verdict.policies, verdict.readings, strict=True)
    ]


def user_shape(key: ApiKey, now: datetime, total: int, recent: int, malicious: int) -> UserShape:
    """Return a key as its administrator sees it."""
    return UserShape(
        id=str(key.id),
        name=key.name,
        role=key.role,
        state=key.state_at(now),
        prefix=key.prefix,
        owner=key.created_by,
        last_used_at=rfc3339(key.last_used_at) if key.last_used_at else None,
        requests_24h=recent,
        requests_total=total,
        malicious_24h=malicious,
    )


def _sums(sums: Sums) -> dict[str, int | float | None]:
    mean = sums.response_time_us / sums.requests / 1000 if sums.requests else None
    return {
        "requests": sums.requests,
        "client_errors": sums.client_errors,
        "server_errors": sums.server_errors,
        "limited": sums.limited,
        "items": sums.items,
        "request_bytes": sums.request_bytes,
        "mean_response_ms": mean,
    }


def _figures(recent: Recent) -> dict[str, int | float | None]:
    times = recent.percentiles or (None, None, None)
    return _sums(recent.sums) | {
        "error_rate": recent.sums.server_errors / recent.sums.requests if recent.sums.requests else 0.0,
        **{
            name: None if time is None else time / 1000
            for name, time in zip(("p50_ms", "p95_ms", "p99_ms"), times, strict=True)
        },
    }
