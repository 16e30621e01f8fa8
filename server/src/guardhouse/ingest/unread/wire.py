"""Shapes of the quarantine on the wire. What was sent is not shown: it was never searched for secrets."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination
from guardhouse.ingest.envelopes.store import Held
from guardhouse.ingest.unread.store import KeptUnread, Totals


class UnreadShape(BaseModel):
    """One item, or one body, that could not be read."""

    id: str
    received_at: str
    kind: Literal["event", "metric", "body"]
    batch_id: str | None
    index: Annotated[int | None, Field(description="Its place in the batch, events first, then metrics.")]
    code: str
    detail: str
    bytes: int


class KeptTotals(BaseModel):
    """All that a project has in keeping."""

    bytes: Annotated[int, Field(description="In quarantine, 64 MiB at most.")]
    dropped: Annotated[
        int, Field(description="Rows that had to leave, oldest first, since the project exists.")
    ]
    held_envelopes: Annotated[int, Field(description="Sealed envelopes that no key opens yet.")]
    held_bytes: int


class UnreadList(BaseModel):
    """One page of a quarantine."""

    data: list[UnreadShape]
    pagination: Pagination
    totals: KeptTotals


def unread_shape(unread: KeptUnread) -> UnreadShape:
    """Return the public form of one row."""
    return UnreadShape(
        id=str(unread.no),
        received_at=rfc3339(unread.received_at),
        kind="event" if unread.kind == "event" else "metric" if unread.kind == "metric" else "body",
        batch_id=unread.batch_id,
        index=unread.index,
        code=unread.code,
        detail=unread.detail,
        bytes=unread.bytes,
    )


def totals_shape(totals: Totals, held: Held) -> KeptTotals:
    """Return the public form of what is kept."""
    return KeptTotals(
        bytes=totals.bytes,
        dropped=totals.dropped,
        held_envelopes=held.envelopes,
        held_bytes=held.bytes,
    )
