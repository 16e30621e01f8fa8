"""Reads minutes and payloads of a project in order, for people and for engines that look on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from guardhouse.agents.projects.read import Project
from guardhouse.events.streams import store
from guardhouse.events.streams.seal import ids_within
from guardhouse.events.streams.store import Values
from guardhouse.foundation.clock import from_microseconds
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.window import Window

LOOKED_BACK: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Payload:
    """What an attack sent, in order of ids."""

    event_id: UUID
    at: datetime
    event_type: str
    text: str


def span_of(wanted: Window, now: datetime) -> tuple[datetime, datetime]:
    """Return from when to before when to read: the last hour where nothing is said.

    Raises:
        ValidationFailed: ``since`` is not before ``until``.
    """
    wanted.check_order()
    until = wanted.until or max(now + timedelta(minutes=10), wanted.since or now)
    return wanted.since or min(now, until) - LOOKED_BACK, until


async def read_streams(
    tx: Tx,
    owner: tuple[TenantKey, Project],
    route: str | None,
    span: tuple[datetime, datetime],
    limit: int,
    after: Sequence[Any] | None = None,
) -> list[Values]:
    """Return the values of minutes in order; ``after``: minute in µs, correction and route of the last one read."""
    tenant, project = owner
    place = (from_microseconds(after[0]), *after[1:]) if after else (span[0] - timedelta(days=1), 0, "")
    return await store.list_values(tx, (tenant.no, project.no), route, span, place, limit)


async def read_payloads(
    tx: Tx,
    owner: tuple[TenantKey, Project],
    span: tuple[datetime, datetime],
    limit: int,
    after: UUID | None = None,
) -> list[Payload]:
    """Return what events of a span say was sent, in order of ids, after one of them."""
    tenant, project = owner
    first, last = ids_within(*span)
    rows = await store.list_payloads(tx, (tenant.no, project.no), (after or first, last), limit)
    return [Payload(*row) for row in rows]
