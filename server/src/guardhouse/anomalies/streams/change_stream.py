"""Make, pause, resume and delete streams; each change stands in the audit log."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from guardhouse.anomalies.stream import DEFAULT_SLUGS, Stream, StreamType
from guardhouse.anomalies.streams import store
from guardhouse.anomalies.streams.append import StreamDeleted
from guardhouse.anomalies.streams.find_stream import ensure_defaults, new_stream
from guardhouse.audit.record import Entry, record
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, Problem
from guardhouse.identity.caller import Caller

MOST_STREAMS: Final = 2000


class StreamExists(Problem):
    """Another stream of the tenant has this slug."""

    status, code, title = 409, "stream_exists", "Stream exists"
    remediation = "Send to the one that is there, or choose another slug."


class ConfirmationMissing(Problem):
    """A stream is deleted only by who writes its slug."""

    status, code, title = 422, "confirmation_missing", "Confirmation missing"
    remediation = (
        "Send ?confirm= with the stream's slug; its events and what was learned of them will be gone."
    )


async def create_stream(
    tx: Tx, caller: Caller, slug: str, kind: StreamType, session_key: str | None, now: datetime
) -> Stream:
    """Make a stream.

    Raises:
        StreamExists: the slug is taken.
        Conflict: the tenant has as many as it may.
    """
    await ensure_defaults(tx, caller.tenant, now)
    count, _ = await store.count_streams(tx, caller.tenant.no)
    if count >= MOST_STREAMS:
        raise Conflict(f"A tenant has at most {MOST_STREAMS:,} streams.", limit=MOST_STREAMS)
    made = new_stream(slug, kind, now, session_key=session_key)
    await store.add_streams(tx, caller.tenant.no, [made])
    stored = await store.find_stream(tx, caller.tenant.no, slug=slug)
    if stored is None or stored.id != made.id:
        raise StreamExists(f"There is a stream {slug} already.")
    await record(tx, caller.actor, Entry("stream.create", f"stream:{made.id}", after=_told(stored)))
    return stored


async def change_stream(
    tx: Tx, caller: Caller, known: Stream, members: Mapping[str, Any], now: datetime
) -> Stream:
    """Pause or resume a stream, or change what its sessions are told apart by.

    Raises:
        StreamDeleted: it is gone.
    """
    _refuse_deleted(known)
    changed = replace(known, session_key=members.get("session_key", known.session_key))
    if "state" in members:
        paused = members["state"] == "paused"
        changed = replace(changed, paused_at=(known.paused_at or now) if paused else None)
    if changed == known:
        return known
    changed = replace(changed, version=known.version + 1)
    await store.put_stream(tx, caller.tenant.no, changed)
    before, after = _told(known), _told(changed)
    entry = Entry(
        "stream.change",
        f"stream:{known.id}",
        {name: value for name, value in before.items() if after[name] != value},
        {name: value for name, value in after.items() if before[name] != value},
    )
    await record(tx, caller.actor, entry)
    return changed


async def delete_stream(tx: Tx, caller: Caller, known: Stream, confirm: str | None, now: datetime) -> None:
    """Take a stream out; its anomalies and their evidence stay.

    Raises:
        StreamDeleted: it is gone already.
        Conflict: every tenant has this one.
        ConfirmationMissing: ``confirm`` is not its slug.
    """
    _refuse_deleted(known)
    if known.slug in DEFAULT_SLUGS:
        raise Conflict("Every tenant has this stream; pause it instead.")
    if confirm != known.slug:
        raise ConfirmationMissing("Deleting a stream takes its slug as confirmation.")
    await store.put_stream(tx, caller.tenant.no, replace(known, deleted_at=now, version=known.version + 1))
    await store.drop_events(tx, caller.tenant.no, known.no)
    await record(tx, caller.actor, Entry("stream.delete", f"stream:{known.id}", before=_told(known)))


def _refuse_deleted(stream: Stream) -> None:
    if stream.deleted_at is not None:
        raise StreamDeleted("The stream was deleted.")


def _told(stream: Stream) -> dict[str, Any]:
    return {
        "slug": stream.slug,
        "type": stream.type,
        "session_key": stream.session_key,
        "state": "paused" if stream.paused_at else "active",
    }
