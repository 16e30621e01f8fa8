"""Write what was judged: records by day, texts that policies keep, notices, all in the caller's transaction."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import zstandard

from guardhouse.detections.records import store
from guardhouse.detections.records.store import Record, StoredText
from guardhouse.foundation.database import Tx
from guardhouse.foundation.resources import Resources
from guardhouse.notices.publish import Draft, publish_all
from guardhouse.webhooks import adhoc
from guardhouse.webhooks.adhoc import Letter

DAYS_AHEAD: Final = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """A record on its way; ``text`` only when its policy keeps texts. Notices and letters commit with it."""

    record: Record
    text: str | None = None
    notices: tuple[Draft, ...] = ()
    letters: tuple[Letter, ...] = ()


@dataclass(slots=True)
class Days:
    """Which days this process knows to have partitions."""

    known: set[date]

    async def ensure(self, tx: Tx, day: date) -> set[date]:
        """Make the partitions of a day that is not known, and return what may be known after the commit."""
        if day in self.known:
            return set()
        for parent in store.PARENTS:
            await store.create_day(tx, parent, day)
        return {day}


async def write(tx: Tx, resources: Resources, entries: Sequence[Entry], days: Days) -> set[date]:
    """Write entries; returns the days whose partitions were made, for ``days`` to know after the commit."""
    by_day: dict[date, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_day[entry.record.at.date()].append(entry)
    made: set[date] = set()
    for day, some in by_day.items():
        made |= await days.ensure(tx, day)
        await store.write_records(tx, day, [entry.record for entry in some])
        texts = [_stored(entry.record, entry.text) for entry in some if entry.text is not None]
        if texts:
            await store.write_texts(tx, day, texts)
    letters = [letter for entry in entries for letter in entry.letters]
    told = [draft for entry in entries for draft in entry.notices] + [letter.draft for letter in letters]
    await publish_all(tx, told)
    await adhoc.post(tx, resources, letters)
    return made


def _stored(record: Record, text: str) -> StoredText:
    packed = zstandard.compress(text.encode("utf-8"))
    return StoredText(record.tenant_id, record.id, record.at, record.retention_days, packed)
