"""Counts of addresses by type and ten minutes, and what is known of each address: tables and statements.

Intake only leaves notes; one worker at a time folds them, so nobody ever waits for a busy address.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Identity,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from guardhouse.analysis.abuse.score import Band
from guardhouse.foundation.database import TenantKey, Tx, metadata

_INSTANT = DateTime(timezone=True)
SAMPLES: Final = 3

ip_notes = Table(
    "ip_notes",
    metadata,
    Column("note_no", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant_no", BigInteger, nullable=False),
    Column("project_no", BigInteger, nullable=False),
    Column("packed", LargeBinary, nullable=False),
)

ip_buckets = Table(
    "ip_buckets",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("project_no", BigInteger, nullable=False),
    Column("address", Text, nullable=False),
    Column("bucket", _INSTANT, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("sample_ids", ARRAY(Uuid), nullable=False),
    PrimaryKeyConstraint("tenant_no", "project_no", "address", "bucket", "event_type"),
    postgresql_partition_by="RANGE (bucket)",
)

ip_scores = Table(
    "ip_scores",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("project_no", BigInteger, nullable=False),
    Column("address", Text, nullable=False),
    Column("score", SmallInteger, nullable=False),
    Column("band", Text, nullable=False),
    Column("rank", Double),
    Column("first_seen", _INSTANT, nullable=False),
    Column("last_seen", _INSTANT, nullable=False),
    Column("crossings", BigInteger, nullable=False),
    Column("due_at", _INSTANT),
    Column("folds", BigInteger, nullable=False),
    Column("unjudged", Boolean, nullable=False),
    PrimaryKeyConstraint("tenant_no", "project_no", "address"),
    CheckConstraint("band IN ('none', 'medium', 'high', 'critical')", name="band"),
    Index("ip_scores_unjudged_idx", "tenant_no", "project_no", postgresql_where=text("unjudged")),
    Index("ip_scores_due_at_idx", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    Index(
        "ip_scores_project_no_rank_idx",
        "project_no",
        "rank",
        "address",
        postgresql_where=text("rank IS NOT NULL"),
    ),
    Index("ip_scores_tenant_no_address_idx", "tenant_no", "address"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """One address in one project, by their numbers."""

    tenant_no: int
    project_no: int
    address: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What is stored of an address before it is scored anew."""

    place: Place
    tenant: TenantKey
    project_id: UUID
    band: Band
    crossings: int


@dataclass(frozen=True, slots=True)
class Rated:
    """What was worked out of an address; ``due_at``: when time alone changes its band, None for never."""

    place: Place
    score: int
    band: Band
    rank: float | None
    due_at: datetime | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """How many events of a type fell into the ten minutes that begin at ``starts_at``, and a few of them."""

    starts_at: datetime
    event_type: str
    count: int
    sample_ids: list[UUID]


@dataclass(frozen=True, slots=True)
class AddressBucket:
    """How many events of a type an address made in the ten minutes that begin at ``starts_at``."""

    address: str
    starts_at: datetime
    event_type: str
    count: int


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an address in a project."""

    project_no: int
    project: str
    address: str
    band: Band
    rank: float
    first_seen: datetime
    last_seen: datetime


async def add_note(tx: Tx, tenant_no: int, project_no: int, packed: bytes) -> None:
    """Leave what one batch says of addresses for whoever folds it into the counts."""
    await tx.run(
        "INSERT INTO ip_notes (tenant_no, project_no, packed) VALUES ($1, $2, $3)",
        tenant_no,
        project_no,
        packed,
    )


async def one_folder(tx: Tx) -> bool:
    """Take the turn to fold and score until the end of the transaction; to be asked before the first write."""
    return bool(await tx.fetch_value("SELECT pg_try_advisory_xact_lock(hashtextextended('ip_scores', 0))"))


async def take_notes(tx: Tx, limit: int) -> list[tuple[int, int, bytes]]:
    """Take the oldest notes of all tenants away: numbers of tenant and project, and what was left."""
    rows = await tx.fetch(
        "WITH taken AS (DELETE FROM ip_notes WHERE note_no IN (SELECT note_no FROM ip_notes ORDER BY note_no LIMIT $1)"
        " RETURNING note_no, tenant_no, project_no, packed) SELECT * FROM taken ORDER BY note_no",
        limit,
    )
    return [(row["tenant_no"], row["project_no"], row["packed"]) for row in rows]


async def add_counts(
    tx: Tx, counts: Mapping[Place, Mapping[tuple[datetime, str], tuple[int, list[UUID]]]]
) -> None:
    """Add events to the buckets of addresses by (start of the bucket, type): how many, and ids of some.

    Raises:
        asyncpg.CheckViolationError: a day has no partition.
    """
    rows = [
        (place.tenant_no, place.project_no, place.address, bucket, event_type, count, _array(ids))
        for place, buckets in counts.items()
        for (bucket, event_type), (count, ids) in buckets.items()
    ]
    await tx.run(
        "INSERT INTO ip_buckets AS b (tenant_no, project_no, address, bucket, event_type, count, sample_ids)"
        " SELECT u.tenant_no, u.project_no, u.address, u.bucket, u.event_type, u.count, u.ids::uuid[]"
        " FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::timestamptz[], $5::text[], $6::bigint[], $7::text[])"
        " AS u(tenant_no, project_no, address, bucket, event_type, count, ids)"
        " ON CONFLICT (tenant_no, project_no, address, bucket, event_type) DO UPDATE SET"
        f" count = b.count + excluded.count, sample_ids = (b.sample_ids || excluded.sample_ids)[1:{SAMPLES}]",
        *map(list, zip(*rows, strict=True)),
    )


async def see(tx: Tx, spans: Mapping[Place, tuple[datetime, datetime]]) -> None:
    """Note when addresses were seen first and last, and that policies have yet to judge them; new ones get a row."""
    rows = [(place.tenant_no, place.project_no, place.address, *span) for place, span in spans.items()]
    await tx.run(
        "INSERT INTO ip_scores AS s (tenant_no, project_no, address, first_seen, last_seen, score, band, crossings,"
        " folds, unjudged) SELECT u.*, 0, 'none', 0, 1, true"
        " FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::timestamptz[], $5::timestamptz[]) AS u"
        " ON CONFLICT (tenant_no, project_no, address) DO UPDATE SET"
        " first_seen = least(s.first_seen, excluded.first_seen), last_seen = greatest(s.last_seen, excluded.last_seen),"
        " folds = s.folds + 1, unjudged = true",
        *map(list, zip(*rows, strict=True)),
    )


async def list_due(tx: Tx, now: datetime, limit: int) -> list[Place]:
    """Return addresses of all tenants whose band time alone has changed, the longest first."""
    rows = await tx.fetch(
        "SELECT tenant_no, project_no, address FROM ip_scores WHERE due_at <= $1 ORDER BY due_at LIMIT $2",
        now,
        limit,
    )
    return [Place(*tuple(row)) for row in rows]


async def list_standing(tx: Tx, places: Sequence[Place]) -> list[Standing]:
    """Return what is stored of addresses."""
    rows = await tx.fetch(
        "SELECT s.tenant_no, s.project_no, s.address, p.tenant_id, p.project_id, s.band, s.crossings FROM ip_scores s"
        " JOIN unnest($1::bigint[], $2::bigint[], $3::text[]) AS w(tenant_no, project_no, address)"
        " USING (tenant_no, project_no, address) JOIN projects p USING (project_no)",
        *_columns(places),
    )
    return [
        Standing(
            Place(row["tenant_no"], row["project_no"], row["address"]),
            TenantKey(row["tenant_id"], row["tenant_no"]),
            row["project_id"],
            row["band"],
            row["crossings"],
        )
        for row in rows
    ]


async def list_buckets(tx: Tx, places: Sequence[Place], since: datetime) -> dict[Place, list[Bucket]]:
    """Return the buckets of addresses from ``since`` on, newest first."""
    rows = await tx.fetch(
        "SELECT b.tenant_no, b.project_no, b.address, b.bucket, b.event_type, b.count, b.sample_ids FROM ip_buckets b"
        " JOIN unnest($1::bigint[], $2::bigint[], $3::text[]) AS w(tenant_no, project_no, address)"
        " USING (tenant_no, project_no, address) WHERE b.bucket >= $4 ORDER BY b.bucket DESC, b.event_type",
        *_columns(places),
        since,
    )
    found: dict[Place, list[Bucket]] = {place: [] for place in places}
    for row in rows:
        place = Place(row["tenant_no"], row["project_no"], row["address"])
        found[place].append(Bucket(row["bucket"], row["event_type"], row["count"], row["sample_ids"]))
    return found


async def list_span(tx: Tx, owner: tuple[int, int], since: datetime, limit: int) -> list[AddressBucket]:
    """Return the buckets of a project's addresses from ``since`` on, by address and time.

    ``owner``: numbers of tenant and project.
    """
    rows = await tx.fetch(
        "SELECT address, bucket, event_type, count FROM ip_buckets WHERE tenant_no = $1 AND project_no = $2"
        " AND bucket >= $3 ORDER BY address, bucket, event_type LIMIT $4",
        *owner,
        since,
        limit,
    )
    return [AddressBucket(*tuple(row)) for row in rows]


async def put_rated(tx: Tx, rated: Sequence[Rated]) -> None:
    """Store scores; a rank that is None stays as it was."""
    await tx.run(
        "UPDATE ip_scores s SET score = u.score, band = u.band, rank = coalesce(u.rank, s.rank), due_at = u.due_at,"
        " crossings = s.crossings + (u.band <> s.band)::int"
        " FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::smallint[], $5::text[], $6::float8[],"
        " $7::timestamptz[]) AS u(tenant_no, project_no, address, score, band, rank, due_at)"
        " WHERE (s.tenant_no, s.project_no, s.address) = (u.tenant_no, u.project_no, u.address)",
        *_columns([each.place for each in rated]),
        [each.score for each in rated],
        [each.band for each in rated],
        [each.rank for each in rated],
        [each.due_at for each in rated],
    )


async def list_known(
    tx: Tx, owner: tuple[int, int], least_rank: float | None, limit: int, after: Sequence[Any] | None
) -> list[Known]:
    """Return addresses of a project by falling rank; ``after``: rank and address of the last one shown.

    ``owner``: numbers of tenant and project.
    """
    rows = await tx.fetch(
        f"{_KNOWN} WHERE s.tenant_no = $1 AND s.project_no = $2 AND s.rank IS NOT NULL"
        " AND s.rank >= coalesce($3, '-Infinity'::float8)"
        " AND ($4::float8 IS NULL OR (s.rank, s.address) < ($4, $5)) ORDER BY s.rank DESC, s.address DESC LIMIT $6",
        *owner,
        least_rank,
        *(after or (None, "")),
        limit,
    )
    return [_known(row) for row in rows]


async def list_projects(tx: Tx, tenant_no: int, address: str) -> list[Known]:
    """Return what each project of a tenant knows of an address, by slug."""
    rows = await tx.fetch(
        f"{_KNOWN} WHERE s.tenant_no = $1 AND s.address = $2 ORDER BY p.slug", tenant_no, address
    )
    return [_known(row) for row in rows]


async def forget_addresses(tx: Tx, seen_before: datetime) -> None:
    """Forget addresses of all tenants that were not seen since."""
    await tx.run("DELETE FROM ip_scores WHERE last_seen < $1", seen_before)


_KNOWN: Final = (
    "SELECT s.project_no, p.slug, s.address, s.band, coalesce(s.rank, 0) AS rank, s.first_seen, s.last_seen"
    " FROM ip_scores s JOIN projects p USING (project_no)"
)


def _known(row: Any) -> Known:
    return Known(*tuple(row))


def _columns(places: Sequence[Place]) -> tuple[list[int], list[int], list[str]]:
    return (
        [place.tenant_no for place in places],
        [place.project_no for place in places],
        [place.address for place in places],
    )


def _array(ids: Sequence[UUID]) -> str:
    return "{" + ",".join(map(str, ids)) + "}"
