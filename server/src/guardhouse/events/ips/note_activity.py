"""Leaves word of what addresses did, in the transaction that stores the events: a replay counts nothing twice.

A batch leaves one row, whatever it holds. Counting into the rows of the addresses themselves would make batches wait
for each other wherever many come from the same few addresses, which is what an attack looks like.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from guardhouse.analysis.abuse.address import name_of
from guardhouse.analysis.abuse.classes import WEIGHING_TYPES
from guardhouse.analysis.abuse.echo import BLOCKED, is_echo
from guardhouse.analysis.abuse.score import bucket_of
from guardhouse.events.ips import store
from guardhouse.events.write_app import AppOwner, NewRow
from guardhouse.foundation.clock import microseconds
from guardhouse.foundation.database import Tx

KEPT: Final = timedelta(days=8)  # what a policy can be tried out over


class Note(msgspec.Struct, array_like=True):
    """Events of one address, type and ten minutes in a batch; ``first`` and ``last`` in µs since 1970."""

    address: str
    bucket: int
    event_type: str
    count: int
    first: int
    last: int
    samples: list[bytes]


class Word(msgspec.Struct, array_like=True):
    """What one batch leaves: its notes, and the minutes since 1970 in which anything of it happened."""

    notes: list[Note]
    minutes: list[int]


class _Filter(msgspec.Struct):
    filter_type: Any = None


async def note_activity(
    tx: Tx, owner: AppOwner, stored: Iterable[NewRow], others: Iterable[datetime]
) -> None:
    """Leave word of events that were stored just now: of addresses only what weighs, and is not our own rules' doing.

    ``others``: when everything else of the batch happened that was new, rolled-up events and metrics.
    """
    minutes = {int(at.timestamp()) // 60 for at in others}
    notes: dict[tuple[str, int, str], Note] = {}
    oldest = owner.received_at - KEPT
    for row in stored:
        fields = row.fields
        minutes.add(int(row.occurred_at.timestamp()) // 60)
        event_type = fields["event_type"]
        if event_type not in WEIGHING_TYPES or row.occurred_at < oldest:
            continue
        address = name_of(fields["ip"], fields["ip_text"])
        if address is None or _is_echo(fields):
            continue
        at = microseconds(row.occurred_at)
        place = (address, bucket_of(at // 1_000_000), event_type)
        note = notes.get(place)
        if note is None:
            notes[place] = Note(*place, 1, at, at, [row.row_id])
            continue
        note.count += 1
        note.first, note.last = min(note.first, at), max(note.last, at)
        if len(note.samples) < store.SAMPLES:
            note.samples.append(row.row_id)
    if minutes:
        packed = msgspec.msgpack.encode(Word(list(notes.values()), sorted(minutes)))
        await store.add_note(tx, owner.tenant.no, owner.project_no, packed)


def _is_echo(fields: dict[str, Any]) -> bool:
    filter_type = None
    if fields["event_type"] == BLOCKED and fields["metadata"]:
        filter_type = msgspec.json.decode(fields["metadata"], type=_Filter).filter_type
    return is_echo(fields["event_type"], fields["reason"], filter_type)
