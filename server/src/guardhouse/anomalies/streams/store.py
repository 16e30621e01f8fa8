"""Streams, their segments and the keys of their events: tables and statements."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)

from guardhouse.anomalies.stream import DEFAULT_SLUGS, Stream
from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)

streams = Table(
    "streams",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("stream_no", BigInteger, Identity(always=True), nullable=False),
    Column("stream_id", Uuid, nullable=False, unique=True),
    Column("slug", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("seed", Text, nullable=False),
    Column("session_key", Text),
    Column("learning", Text, nullable=False),
    Column("paused_at", _INSTANT),
    Column("automatic", Boolean, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("last_sha256", LargeBinary, nullable=False),
    Column("last_event_at", _INSTANT),
    Column("processed_seq", BigInteger, nullable=False),
    Column("waiting_since", _INSTANT),
    Column("outliers", Integer, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("deleted_at", _INSTANT),
    Column("version", Integer, nullable=False),
    PrimaryKeyConstraint("tenant_no", "stream_no"),
    CheckConstraint("type IN ('logs', 'metrics', 'traces', 'llm', 'transactions', 'sessions')", name="type"),
    CheckConstraint("learning IN ('calibrating', 'ready', 'recalibrating')", name="learning"),
    CheckConstraint("processed_seq <= last_seq", name="processed"),
    Index("streams_waiting_idx", "stream_no", postgresql_where=text("processed_seq < last_seq")),
    Index("streams_slug_idx", "tenant_no", "slug", unique=True, postgresql_where=text("deleted_at IS NULL")),
)
stream_segments = Table(
    "stream_segments",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("stream_no", BigInteger, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("received_at", _INSTANT, nullable=False),
    Column("first_at", _INSTANT, nullable=False),
    Column("last_at", _INSTANT, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("previous_sha256", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_no", "stream_no", "first_seq", "received_at"),
    postgresql_partition_by="RANGE (received_at)",
)
stream_seen = Table(
    "stream_seen",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("stream_no", BigInteger, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("seen_at", _INSTANT, nullable=False),
    PrimaryKeyConstraint("tenant_no", "stream_no", "key"),
    Index("stream_seen_seen_at_idx", "seen_at"),
)
_COLUMNS: Final = (
    "stream_no, stream_id, slug, type, seed, session_key, learning, paused_at, automatic, last_seq, last_sha256,"
    " last_event_at, processed_seq, waiting_since, outliers, created_at, deleted_at, version"
)
_NO_PARTITION: Final = "23514"  # what PostgreSQL says of a row that fits no partition


class DayMissing(Exception):  # noqa: N818 - tells the caller to make the partition
    """The day has no partition; the transaction is lost."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One immutable batch of a stream: ``payload`` is NDJSON under zstd, ``size_bytes`` its size before."""

    first_seq: int
    last_seq: int
    received_at: datetime
    first_at: datetime
    last_at: datetime
    size_bytes: int
    payload: bytes
    sha256: bytes
    previous_sha256: bytes


async def find_stream(
    tx: Tx, tenant_no: int, *, stream_id: UUID | None = None, slug: str | None = None, lock: bool = False
) -> Stream | None:
    """Return a stream by id or slug, deleted ones too when no other has taken the slug since."""
    row = await tx.fetch_row(
        f"SELECT {_COLUMNS} FROM streams WHERE tenant_no = $1"
        " AND ($2::uuid IS NULL OR stream_id = $2) AND ($3::text IS NULL OR slug = $3)"
        f" ORDER BY deleted_at DESC NULLS FIRST LIMIT 1{' FOR UPDATE' if lock else ''}",
        tenant_no,
        stream_id,
        slug,
    )
    return None if row is None else _stream(row)


async def list_streams(tx: Tx, tenant_no: int, limit: int, after: int) -> list[Stream]:
    """Return the streams of a tenant in order of making."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM streams WHERE tenant_no = $1 AND deleted_at IS NULL AND stream_no > $2"
        " ORDER BY stream_no LIMIT $3",
        tenant_no,
        after,
        limit,
    )
    return [_stream(row) for row in rows]


async def count_streams(tx: Tx, tenant_no: int) -> tuple[int, int]:
    """Return how many streams a tenant has, and how many of them made themselves."""
    row = await tx.fetch_row(
        "SELECT count(*), count(*) FILTER (WHERE automatic) FROM streams"
        " WHERE tenant_no = $1 AND deleted_at IS NULL",
        tenant_no,
    )
    return (0, 0) if row is None else (row[0], row[1])


async def find_by_slugs(tx: Tx, tenant_no: int, slugs: Collection[str]) -> dict[str, Stream]:
    """Return those of these streams that are there, by slug."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM streams WHERE tenant_no = $1 AND deleted_at IS NULL"
        " AND slug = ANY ($2::text[])",
        tenant_no,
        sorted(slugs),
    )
    return {row["slug"]: _stream(row) for row in rows}


async def add_streams(tx: Tx, tenant_no: int, made: Sequence[Stream]) -> None:
    """Store new streams; those whose slug is taken are left out. Numbers come from the database."""
    await tx.run_many(
        "INSERT INTO streams (tenant_no, stream_id, slug, type, seed, session_key, learning, automatic, last_seq,"
        " last_sha256, processed_seq, outliers, created_at, version)"
        " VALUES ($1, $2, $3, $4, $5, $6, 'calibrating', $7, 0, $8, 0, 0, $9, 1)"
        " ON CONFLICT (tenant_no, slug) WHERE deleted_at IS NULL DO NOTHING",
        [
            (
                tenant_no,
                stream.id,
                stream.slug,
                stream.type,
                stream.seed,
                stream.session_key,
                stream.automatic,
                stream.last_sha256,
                stream.created_at,
            )
            for stream in made
        ],
    )


async def has_defaults(tx: Tx, tenant_no: int) -> bool:
    """Tell whether the streams that every tenant has are there."""
    found: int = await tx.fetch_value(
        "SELECT count(*) FROM streams WHERE tenant_no = $1 AND deleted_at IS NULL AND slug = ANY ($2::text[])",
        tenant_no,
        list(DEFAULT_SLUGS),
    )
    return found == len(DEFAULT_SLUGS)


async def put_stream(tx: Tx, tenant_no: int, stream: Stream) -> None:
    """Store what people may change of a stream."""
    await tx.run(
        "UPDATE streams SET session_key = $3, paused_at = $4, deleted_at = $5, version = $6"
        " WHERE tenant_no = $1 AND stream_no = $2",
        tenant_no,
        stream.no,
        stream.session_key,
        stream.paused_at,
        stream.deleted_at,
        stream.version,
    )


async def take_keys(
    tx: Tx, tenant_no: int, stream_no: int, keys: Collection[bytes], now: datetime, since: datetime
) -> set[bytes]:
    """Note keys of events and return those that were not seen since an instant."""
    rows = await tx.fetch(
        "INSERT INTO stream_seen (tenant_no, stream_no, key, seen_at)"
        " SELECT $1, $2, k, $4 FROM unnest($3::bytea[]) AS k"
        " ON CONFLICT (tenant_no, stream_no, key) DO UPDATE SET seen_at = excluded.seen_at"
        " WHERE stream_seen.seen_at < $5 RETURNING key",
        tenant_no,
        stream_no,
        sorted(keys),
        now,
        since,
    )
    return {row["key"] for row in rows}


async def add_segments(tx: Tx, tenant_no: int, stream: Stream, segments: Sequence[Segment]) -> None:
    """Store segments that follow the last one of a locked stream, and move the stream on.

    Raises:
        DayMissing: the day of receipt has no partition.
    """
    try:
        await tx.run_many(
            "INSERT INTO stream_segments (tenant_no, stream_no, first_seq, last_seq, received_at, first_at, last_at,"
            " bytes, payload, sha256, previous_sha256) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            [
                (
                    tenant_no,
                    stream.no,
                    one.first_seq,
                    one.last_seq,
                    one.received_at,
                    one.first_at,
                    one.last_at,
                    one.size_bytes,
                    one.payload,
                    one.sha256,
                    one.previous_sha256,
                )
                for one in segments
            ],
        )
    except asyncpg.PostgresError as error:
        if error.sqlstate == _NO_PARTITION:
            raise DayMissing from error
        raise
    await tx.run(
        "UPDATE streams SET last_seq = $3, last_sha256 = $4, last_event_at = greatest(last_event_at, $5),"
        " waiting_since = CASE WHEN processed_seq = last_seq THEN $6 ELSE waiting_since END"
        " WHERE tenant_no = $1 AND stream_no = $2",
        tenant_no,
        stream.no,
        segments[-1].last_seq,
        segments[-1].sha256,
        max(one.last_at for one in segments),
        segments[0].received_at,
    )
    await tx.run("SELECT pg_notify('streams', $1)", str(stream.no))


async def forget_keys(tx: Tx, before: datetime) -> None:
    """Forget keys of all tenants that were seen before an instant."""
    await tx.run("DELETE FROM stream_seen WHERE seen_at < $1", before)


async def drop_events(tx: Tx, tenant_no: int, stream_no: int) -> None:
    """Delete the segments of one stream, and the keys of its events."""
    for table in ("stream_segments", "stream_seen"):
        await tx.run(f"DELETE FROM {table} WHERE tenant_no = $1 AND stream_no = $2", tenant_no, stream_no)


def _stream(row: Any) -> Stream:
    return Stream(*tuple(row))


async def read_segments(
    tx: Tx, tenant_no: int, stream_no: int, after_seq: int, until_seq: int, limit: int
) -> list[Segment]:
    """Return the segments of a stream that hold numbers behind one and up to another, in order."""
    rows = await tx.fetch(
        "SELECT first_seq, last_seq, received_at, first_at, last_at, bytes, payload, sha256, previous_sha256"
        " FROM stream_segments WHERE tenant_no = $1 AND stream_no = $2 AND last_seq > $3 AND first_seq <= $4"
        " ORDER BY first_seq LIMIT $5",
        tenant_no,
        stream_no,
        after_seq,
        until_seq,
        limit,
    )
    return [Segment(*tuple(row)) for row in rows]
