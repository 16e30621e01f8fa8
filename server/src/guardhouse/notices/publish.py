"""Say what happened, in the transaction that made it true: the notice commits with the change or not at all.

The log is ordered by transaction id, so notices of one subject keep the order of events only if each writer
gets its id after the writer before has committed: by being alone (a lane, a lease), or by ``take_turn``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from guardhouse.foundation import correlation
from guardhouse.foundation.database import Tx
from guardhouse.foundation.ids import new_id
from guardhouse.notices import store
from guardhouse.notices.kind import NoticeData

MAX_DATA_BYTES: Final = 16 * 1024


class NoticeTooLarge(ValueError):  # noqa: N818 - named like the problems are
    """The data of a notice is over 16 KiB: link to the rest instead."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a notice comes from; ``correlation_id=None`` takes the one in force."""

    correlation_id: str | None = None
    api_key_id: UUID | None = None
    project_id: UUID | None = None
    trace_id: str | None = None


HERE: Final = Origin()


@dataclass(frozen=True, slots=True)
class Draft:
    """One notice to publish; ``subject_seq`` is the version of the subject's row.

    ``notice_id``: a fresh one unless whoever publishes derives it from what happened.
    """

    data: NoticeData
    tenant_id: UUID
    subject_seq: int
    origin: Origin = HERE
    notice_id: UUID | None = None


class TurnTooLate(RuntimeError):  # noqa: N818 - as above
    """The transaction has written already: its place in the log is fixed, waiting now would not order it."""


async def take_turn(tx: Tx, tenant_id: UUID, subject: str) -> None:
    """Wait until no other transaction holds this subject, and hold it until the end of this one.

    To be called before the first write. A row lock does not do: ``UPDATE`` takes its transaction id before it
    waits, and ``SELECT ... FOR UPDATE`` takes it while it follows a row that changed under it; both were seen
    to invert two notices. Waiting for an advisory lock takes none.

    Raises:
        TurnTooLate: the transaction has written already.
    """
    if not await store.take_turn(tx, f"{tenant_id}/{subject}"):
        raise TurnTooLate(subject)


async def publish(
    tx: Tx, data: NoticeData, *, tenant_id: UUID, subject_seq: int, origin: Origin = HERE
) -> UUID:
    """Write one notice and return its id; readers learn of it at commit.

    Raises:
        NoticeTooLarge: the data is over 16 KiB.
    """
    (notice_id,) = await publish_all(tx, [Draft(data, tenant_id, subject_seq, origin)])
    return notice_id


async def publish_all(tx: Tx, drafts: Sequence[Draft]) -> list[UUID]:
    """Write notices in their order, in one round trip, and return their ids.

    Raises:
        NoticeTooLarge: the data of one is over 16 KiB; none is written.
    """
    rows = [_row(draft) for draft in drafts]
    if rows:
        await store.append(tx, rows)
    return [row.notice_id for row in rows]


def _row(draft: Draft) -> store.Row:
    data, origin = draft.data, draft.origin
    encoded = data.model_dump_json()
    if len(encoded.encode()) > MAX_DATA_BYTES:
        raise NoticeTooLarge(f"{data.kind} of {data.subject}: over {MAX_DATA_BYTES} bytes")
    return store.Row(
        notice_id=new_id() if draft.notice_id is None else draft.notice_id,
        tenant_id=draft.tenant_id,
        kind=data.kind,
        version=data.version,
        severity=data.severity,
        subject=data.subject,
        subject_seq=draft.subject_seq,
        data=encoded,
        api_key_id=origin.api_key_id,
        project_id=origin.project_id,
        correlation_id=correlation.current() if origin.correlation_id is None else origin.correlation_id,
        trace_id=correlation.trace_id() if origin.trace_id is None else origin.trace_id,
    )
