"""Folds what intake left into counts, and scores anew those addresses and those that time moves out of a band."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
from asyncpg import CheckViolationError

from guardhouse.agents.rules.queries import list_released
from guardhouse.analysis.abuse import score
from guardhouse.analysis.abuse.echo import BANS, RELEASE_SECONDS
from guardhouse.events.ips import store
from guardhouse.events.ips.note_activity import Note, Word
from guardhouse.events.ips.store import Bucket, Place, Rated, Standing
from guardhouse.events.streams.store import mark
from guardhouse.events.write_process import DayMissing
from guardhouse.foundation.clock import from_microseconds
from guardhouse.foundation.database import Tx
from guardhouse.notices.abuse_kinds import IpScoreCrossed
from guardhouse.notices.publish import Draft, Origin, publish_all

NOTES_AT_ONCE: Final = 100
DUE_AT_ONCE: Final = 500
SPAN: Final = timedelta(seconds=score.BUCKET_SECONDS * score.BUCKETS)
_LISTED: Final = 5
_decode: Final = msgspec.msgpack.Decoder(Word).decode


async def rate_addresses(tx: Tx, now: datetime) -> bool:
    """Do one step in a transaction of its own; tells whether more waits.

    Nothing is done while somebody else does the same.

    Raises:
        DayMissing: a partition is missing; the transaction is lost.
    """
    if not await store.one_folder(tx):
        return False
    taken = await store.take_notes(tx, NOTES_AT_ONCE)
    moved = await _fold(tx, taken, now)
    due = await store.list_due(tx, now, DUE_AT_ONCE)
    places = sorted({*moved, *due}, key=lambda place: (place.tenant_no, place.project_no, place.address))
    if places:
        await _rate(tx, places, now)
    return len(taken) == NOTES_AT_ONCE or len(due) == DUE_AT_ONCE


def counts_of(buckets: Sequence[Bucket]) -> Mapping[tuple[str, int], int]:
    """Return stored buckets as the score takes them."""
    return {
        (bucket.event_type, score.bucket_of(bucket.starts_at.timestamp())): bucket.count for bucket in buckets
    }


def start_of(bucket: int) -> datetime:
    """Return when the ten minutes of a number begin."""
    return datetime.fromtimestamp(bucket * score.BUCKET_SECONDS, UTC)


async def _fold(tx: Tx, taken: Sequence[tuple[int, int, bytes]], now: datetime) -> set[Place]:
    words = [(tenant_no, project_no, _decode(packed)) for tenant_no, project_no, packed in taken]
    minutes = {(tenant_no, no, _minute(number)) for tenant_no, no, word in words for number in word.minutes}
    if minutes:
        await mark(tx, minutes, now)
    decoded = [(tenant_no, project_no, word.notes) for tenant_no, project_no, word in words]
    released = await _released(tx, decoded, now)
    counts: dict[Place, dict[tuple[datetime, str], tuple[int, list[UUID]]]] = {}
    spans: dict[Place, tuple[datetime, datetime]] = {}
    for tenant_no, project_no, notes in decoded:
        for note in notes:
            if note.event_type in BANS and (project_no, note.address) in released:
                continue
            place = Place(tenant_no, project_no, note.address)
            buckets = counts.setdefault(place, {})
            key = (start_of(note.bucket), note.event_type)
            count, samples = buckets.get(key, (0, []))
            samples = [*samples, *(UUID(bytes=each) for each in note.samples)][: store.SAMPLES]
            buckets[key] = (count + note.count, samples)
            span = (from_microseconds(note.first), from_microseconds(note.last))
            before = spans.get(place, span)
            spans[place] = (min(before[0], span[0]), max(before[1], span[1]))
    if counts:
        try:
            await store.add_counts(tx, counts)
        except CheckViolationError as error:
            raise DayMissing from error
        await store.see(tx, spans)
    return set(counts)


async def _released(
    tx: Tx, decoded: Sequence[tuple[int, int, Sequence[Note]]], now: datetime
) -> set[tuple[int, str]]:
    """Return (project number, address) of what we released: bans that follow are an echo of that."""
    projects = {no for _, no, notes in decoded if any(note.event_type in BANS for note in notes)}
    if not projects:
        return set()
    nets = await list_released(tx, sorted(projects), now - timedelta(seconds=RELEASE_SECONDS))
    return {(no, net.partition("/")[0]) for no, net in nets}


async def _rate(tx: Tx, places: Sequence[Place], now: datetime) -> None:
    buckets = await store.list_buckets(tx, places, now - SPAN)
    drafts, rated = [], []
    for standing in await store.list_standing(tx, places):
        own = buckets[standing.place]
        rated.append(_rated(standing, own, now))
        if rated[-1].band != standing.band:
            drafts.append(_crossing(standing, rated[-1], own))
    await store.put_rated(tx, rated)
    await publish_all(tx, drafts)


def _minute(number: int) -> datetime:
    return datetime.fromtimestamp(number * 60, UTC)


def _rated(standing: Standing, buckets: Sequence[Bucket], now: datetime) -> Rated:
    counts, present = counts_of(buckets), score.bucket_of(now.timestamp())
    value = score.score_of(score.activity(counts, present))
    band = score.band_after(standing.band, value)
    falls = score.falls_at(counts, present, band)
    due_at = None if falls is None else start_of(falls)
    return Rated(standing.place, value, band, score.rank_of(counts, present), due_at)


def _crossing(standing: Standing, rated: Rated, buckets: Sequence[Bucket]) -> Draft:
    samples = [each.hex for bucket in buckets for each in bucket.sample_ids]
    return Draft(
        IpScoreCrossed(
            project_id=standing.project_id,
            address=standing.place.address,
            score=rated.score,
            band=rated.band,
            before=standing.band,
            event_ids=tuple(samples[:_LISTED]),
        ),
        standing.tenant.id,
        subject_seq=standing.crossings + 1,
        origin=Origin(project_id=standing.project_id),
    )
