"""Reads stored events of hosts: pages for people, and the stream in position order for scoring."""

from datetime import datetime
from typing import Any

import msgspec

from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.events import store
from guardhouse.events.store import LATE, StoredEvent
from guardhouse.events.write_process import KIND_NAMES, Fields
from guardhouse.foundation.clock import microseconds
from guardhouse.foundation.database import Tx

_unpack = msgspec.msgpack.Decoder(Fields).decode
_EMPTY = Fields()


async def read_after(tx: Tx, agent_no: int, position: int, limit: int) -> list[RiskEvent]:
    """Return the next events of an agent after a position, as the risk engine reads them."""
    rows, sources = await store.read_after(tx, agent_no, position, limit)
    events = []
    for event_id, at, place, start, ret, pid, tid, kind, flags, call, packed, source in rows:
        boot_id, alphabet = sources[source]
        f = _EMPTY if packed is None else _unpack(packed)
        events.append(
            RiskEvent(
                place, event_id, microseconds(at), KIND_NAMES[kind], pid, tid, f.ppid, start, boot_id, f.exe, f.comm,
                call, ret, f.errno, f.args, None if f.names is None else tuple(f.names), f.child_pid, f.child_start,
                f.code, alphabet, bool(flags & LATE), _extra(f),
            )
        )  # fmt: skip
    return events


async def oldest_time(tx: Tx, agent_no: int) -> datetime | None:
    """Return the time of the first event of an agent, by position, that is still stored."""
    return await store.oldest_time(tx, agent_no)


async def read_process(
    tx: Tx, agent_no: int, pid: int, positions: tuple[int, int], times: tuple[datetime, datetime], limit: int
) -> list[RiskEvent]:
    """Return events of a pid after one position, up to another, between two instants, in position order."""
    found = await store.read_process(tx, agent_no, pid, positions, times, limit)
    return [risk_event(event) for event in found]


async def position_before(tx: Tx, agent_no: int, since: datetime, until: datetime) -> int | None:
    """Return after which position to read the events of a span of time; None when an agent has none there."""
    return await store.position_before(tx, agent_no, since, until)


def fields_of(event: StoredEvent) -> Fields:
    """Return what an event says beyond its columns."""
    return _EMPTY if event.fields is None else _unpack(event.fields)


def risk_event(event: StoredEvent) -> RiskEvent:
    """Return a stored event as the risk engine reads it."""
    f = fields_of(event)
    return RiskEvent(
        event.position,
        event.event_id,
        microseconds(event.occurred_at),
        KIND_NAMES[event.kind],
        event.pid,
        event.tid,
        f.ppid,
        event.start,
        event.boot_id,
        f.exe,
        f.comm,
        event.call,
        event.ret,
        f.errno,
        f.args,
        None if f.names is None else tuple(f.names),
        f.child_pid,
        f.child_start,
        f.code,
        event.alphabet,
        bool(event.flags & LATE),
        _extra(f),
    )


def _extra(fields: Fields) -> dict[str, Any] | None:
    if fields.rule is None and fields.count is None:
        return None if fields.parent_start is None else {"parent_start": fields.parent_start}
    return {
        "rule": fields.rule,
        "priority": fields.priority,
        "source": fields.source,
        "tags": fields.tags or [],
        "count": fields.count,
        "where": fields.where,
        "parent_start": fields.parent_start,
    }
