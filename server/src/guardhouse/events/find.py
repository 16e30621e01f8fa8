"""Finds stored events for people: by filters, by process, by id."""

import re
from collections.abc import Sequence
from datetime import timedelta
from operator import attrgetter
from typing import Final
from uuid import UUID

from guardhouse.events import store
from guardhouse.events.app import queries
from guardhouse.events.app.queries import AppEventFilter, StoredAppEvent
from guardhouse.events.identify import milliseconds_of
from guardhouse.events.store import EventFilter, StoredEvent
from guardhouse.events.wire import EventQuery
from guardhouse.events.write_process import KINDS
from guardhouse.foundation.clock import from_microseconds
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import NotFound, ValidationFailed

_PROCESS: Final = re.compile(r"(?P<agent>.+?):(?P<pid>[0-9]{1,7})(?::(?P<start>[0-9a-z]{1,13}))?")
_ID: Final = re.compile(r"[0-9a-f]{32}")
_LATEST_START: Final = (1 << 63) - 1
LATEST_MS: Final = 253_402_300_799_998  # the last that has a next one before the year 10000


async def newest(
    tx: Tx, tenant: TenantKey, wanted: EventQuery, limit: int, before: bytes | None
) -> list[StoredEvent | StoredAppEvent]:
    """Return events of both families that pass the filters, newest id first.

    Raises:
        ValidationFailed: ``since`` is not before ``until``, or filters of both families at once.
    """
    wanted.check_order()
    found: list[StoredEvent | StoredAppEvent] = []
    families = _families(wanted)
    if "host" in families:
        found += await store.list_newest(tx, tenant.no, _filter(wanted), limit, before)
    if "app" in families:
        shown = AppEventFilter(wanted.project, wanted.event_type or None, wanted.since, wanted.until)
        found += await queries.list_newest(tx, tenant.no, shown, limit, before)
    return sorted(found, key=attrgetter("event_id"), reverse=True)[:limit]


async def of_process(
    tx: Tx, tenant: TenantKey, wanted: EventQuery, limit: int, after: Sequence[int] | None
) -> list[StoredEvent]:
    """Return events of one process in position order; ``after`` is agent number and position.

    Raises:
        NotFound: the process id is not of the form ``<agent>:<pid>[:<start>]``.
        ValidationFailed: ``since`` is not before ``until``.
    """
    agent_id, pid, start = split_process_id(wanted.process_id or "")
    if (wanted.agent_id is not None and wanted.agent_id != agent_id) or (wanted.pid not in (None, pid)):
        return []
    return await store.list_by_position(tx, tenant.no, _filter(wanted, (agent_id, pid, start)), limit, after)


async def one(tx: Tx, tenant: TenantKey, text: str) -> StoredEvent | StoredAppEvent:
    """Return one event of either family by the text form of its id; one that is cited, also beyond retention.

    Raises:
        NotFound: there is none, or the text is no id.
    """
    digits = text.replace("-", "").lower()
    if not _ID.fullmatch(digits):
        raise NotFound("There is no such event.")
    event_id = UUID(hex=digits).bytes
    milliseconds = milliseconds_of(event_id)
    if milliseconds > LATEST_MS:
        raise NotFound("There is no such event.")
    since = from_microseconds(milliseconds * 1000)
    until = since + timedelta(milliseconds=1)
    event = await store.get_event(tx, tenant.no, event_id, since, until) or await queries.get_event(
        tx, tenant.no, event_id, since, until
    )
    kept = [] if event is not None else await store.list_kept(tx, tenant.no, [event_id])
    if event is None and not kept:
        raise NotFound("There is no such event.")
    return event or kept[0]


def split_process_id(text: str) -> tuple[str, int, int | None]:
    """Return agent, pid and start of a process id.

    Raises:
        NotFound: it is not of the form ``<agent>:<pid>[:<start in base 36>]``.
    """
    found = _PROCESS.fullmatch(text)
    if found is None:
        raise NotFound("There is no such process.")
    start = None if found["start"] is None else int(found["start"], 36)
    if start is not None and start > _LATEST_START:
        raise NotFound("There is no such process.")
    return found["agent"], int(found["pid"]), start


def _families(wanted: EventQuery) -> set[str]:
    """Return the families that the filters leave."""
    of_hosts = (wanted.agent_id, wanted.pid, wanted.late, wanted.syscall or None, wanted.kind or None)
    of_apps = (wanted.project, wanted.event_type or None)
    asked = {"host"} if any(value is not None for value in of_hosts) else set[str]()
    asked |= {"app"} if any(value is not None for value in of_apps) else set[str]()
    asked |= {wanted.family} if wanted.family is not None else set[str]()
    if len(asked) > 1:
        raise ValidationFailed(
            "Filters of hosts and of apps exclude each other.",
            errors=[{"parameter": "family", "code": "conflict", "detail": "use filters of one family"}],
        )
    return asked or {"host", "app"}


def _filter(wanted: EventQuery, process: tuple[str, int, int | None] | None = None) -> EventFilter:
    wanted.check_order()
    agent_id, pid, start = process or (wanted.agent_id, wanted.pid, None)
    return EventFilter(
        agent_id=agent_id,
        pid=pid,
        start=start,
        calls=wanted.syscall or None,
        kinds=[KINDS[kind] for kind in wanted.kind] or None,
        since=wanted.since,
        until=wanted.until,
        late=wanted.late,
    )
