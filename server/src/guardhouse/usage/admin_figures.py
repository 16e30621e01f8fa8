"""Figures for administrators of a tenant: every one equals a SELECT over the log."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound
from guardhouse.identity import keys
from guardhouse.identity.store import ApiKey
from guardhouse.usage import queries
from guardhouse.usage.queries import BEGINNING, Span
from guardhouse.usage.wire import (
    PerformanceShape,
    StatsShape,
    ThreatsShape,
    UserShape,
    UserUsage,
    figures_shape,
    group_shape,
    route_shape,
    sums_shape,
    user_shape,
)

LATELY: Final = timedelta(hours=24)
SHOWN_DAYS: Final = 90
_KEY_ID: Final = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}", re.ASCII)


async def stats(tx: Tx, tenant_id: UUID, now: datetime) -> StatsShape:
    """Return totals and the last 24 hours of a tenant."""
    since = now - LATELY
    total = await queries.read_total(tx, Span(tenant_id, BEGINNING, now.date()))
    verdicts = await queries.count_verdicts(tx, tenant_id, since)
    return StatsShape(
        total=sums_shape(total),
        last_24h=figures_shape(await queries.read_recent(tx, tenant_id, since)),
        active_keys=await queries.count_credentials(tx, tenant_id, "key", since),
        by_decision=verdicts["decisions"],
        by_threat_type=verdicts["threat_types"],
        by_channel=verdicts["channels"],
    )


async def threats(tx: Tx, tenant_id: UUID, now: datetime, hours: int) -> ThreatsShape:
    """Return what detections found in the last hours."""
    since = now - timedelta(hours=hours)
    verdicts = await queries.count_verdicts(tx, tenant_id, since)
    return ThreatsShape(
        since=rfc3339(since),
        by_threat_type=verdicts["threat_types"],
        by_decision=verdicts["decisions"],
        malicious_by_hour=verdicts["hours"],
    )


async def performance(tx: Tx, tenant_id: UUID, now: datetime, hours: int) -> PerformanceShape:
    """Return the figures of every operation called in the last hours."""
    since = now - timedelta(hours=hours)
    routes = await queries.read_routes(tx, tenant_id, since)
    return PerformanceShape(since=rfc3339(since), data=[route_shape(*one) for one in routes])


async def users(tx: Tx, tenant_id: UUID, found: Sequence[ApiKey], now: datetime) -> list[UserShape]:
    """Return keys with what they used."""
    span = Span(tenant_id, BEGINNING, now.date())
    used = await queries.read_totals_of(tx, span, [str(key.id) for key in found], now - LATELY)
    return [user_shape(key, now, *used.get(str(key.id), (0, 0, 0))) for key in found]


async def find_user(tx: Tx, tenant_id: UUID, named: str) -> ApiKey:
    """Return the key that an id or a prefix names.

    Raises:
        NotFound: the tenant has no such key, or the prefix is that of several.
    """
    if _KEY_ID.fullmatch(named):
        return await keys.get_key(tx, tenant_id, UUID(named))
    found = await queries.find_keys_by_prefix(tx, tenant_id, named)
    if len(found) != 1:
        raise NotFound("There is no such key.")
    return await keys.get_key(tx, tenant_id, found[0])


async def user_usage(tx: Tx, tenant_id: UUID, key: ApiKey, now: datetime) -> UserUsage:
    """Return a key with its last 90 days and all it ever used."""
    first = now.date() - timedelta(days=SHOWN_DAYS - 1)
    days = await queries.read_groups(tx, Span(tenant_id, first, now.date(), str(key.id)), "day")
    total = await queries.read_total(tx, Span(tenant_id, BEGINNING, now.date(), str(key.id)))
    (user,) = await users(tx, tenant_id, [key], now)
    return UserUsage(
        user=user,
        days=[group_shape(sums, day=str(values[0])) for values, sums in days],
        total=sums_shape(total),
    )
