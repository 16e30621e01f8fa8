"""Statements that prove the audit log: hashes computed anew, signing keys, signed heads, outcomes of checks.

The hash is spelt out here a second time on purpose: whoever owns the database could have replaced the function
that the trigger uses. Built-in functions and this text are all that a check relies on.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from guardhouse.foundation.database import Tx

_MEMBERS: Final = (
    "tenant_id::text", "seq::text", "(extract(epoch FROM at) * 1000000)::bigint::text", "actor", "credential",
    "action", "target", "before::text", "after::text", "reason", "ip", "user_agent", "correlation_id",
)  # fmt: skip
_BYTES: Final = " || ',' || ".join(f"coalesce(octet_length({m}) || ':' || {m}, '-')" for m in _MEMBERS)
_WALK: Final = f"""
WITH entries AS (
  SELECT seq, hash, sha256(prev_hash || convert_to({_BYTES}, 'UTF8')) AS made, prev_hash,
         lag(seq, 1, $2::bigint - 1) OVER chain AS seq_before, lag(hash, 1, $4::bytea) OVER chain AS hash_before
  FROM audit_log WHERE tenant_id = $1 AND seq BETWEEN $2 AND $3 WINDOW chain AS (ORDER BY seq)
)
SELECT count(*) AS entries, coalesce(max(seq), $2::bigint - 1) AS last,
       min(seq_before) FILTER (WHERE seq_before <> seq - 1) + 1 AS missing,
       min(seq) FILTER (WHERE made <> hash) AS altered,
       min(seq) FILTER (WHERE prev_hash <> hash_before) AS unlinked
FROM entries
"""


@dataclass(frozen=True, slots=True)
class Extent:
    """What a log claims to be: its head, and the highest number among its entries (0 = none)."""

    head_seq: int
    head_hash: bytes
    highest: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """What was found along a part of the chain; the last three are the first entry of each fault."""

    entries: int
    last: int
    missing: int | None
    altered: int | None
    unlinked: int | None


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head as it was signed; ``found`` is the hash that the entry has now (None: it is gone)."""

    seq: int
    hash: bytes
    signed_at: datetime
    key_id: str
    signature: bytes
    found: bytes | None


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A signing key as stored: its secret half is sealed under the master key."""

    key_id: str
    public_key: bytes
    sealed: bytes
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of the last scheduled check of one tenant's log."""

    last_seq: int
    broken_seq: int | None
    fault: str | None


async def extent(tx: Tx, tenant_id: UUID) -> Extent:
    """Return head and highest number of a log, both as of one instant."""
    row = await tx.fetch_row(
        "SELECT (SELECT max(seq) FROM audit_log WHERE tenant_id = $1) AS highest, h.seq, h.hash"
        " FROM (SELECT) AS one LEFT JOIN audit_heads h ON h.tenant_id = $1",
        tenant_id,
    )
    if row is None:
        return Extent(0, b"", 0)
    return Extent(row["seq"] or 0, row["hash"] or b"", row["highest"] or 0)


async def hash_of(tx: Tx, tenant_id: UUID, seq: int) -> bytes | None:
    """Return the stored hash of one entry; that before the first is empty."""
    if seq == 0:
        return b""
    found: bytes | None = await tx.fetch_value(
        "SELECT hash FROM audit_log WHERE tenant_id = $1 AND seq = $2", tenant_id, seq
    )
    return found


async def walk(tx: Tx, tenant_id: UUID, first: int, last: int, hash_before: bytes | None) -> Stretch:
    """Compute the hashes from ``first`` to ``last`` anew; ``hash_before=None`` leaves the first link out."""
    row = await tx.fetch_row(_WALK, tenant_id, first, last, hash_before)
    if row is None:
        raise ValueError("an aggregate has one row")
    return Stretch(*row)


async def list_signed_heads(tx: Tx, tenant_id: UUID, first: int, last: int | None) -> list[SignedHead]:
    """Return signed heads in order, each with the hash that its entry has now."""
    rows = await tx.fetch(
        "SELECT s.seq, s.hash, s.signed_at, s.key_id, s.signature, l.hash AS found FROM audit_signed_heads s"
        " LEFT JOIN audit_log l ON l.tenant_id = s.tenant_id AND l.seq = s.seq"
        " WHERE s.tenant_id = $1 AND s.seq >= $2 AND ($3::bigint IS NULL OR s.seq <= $3) ORDER BY s.seq",
        tenant_id,
        first,
        last,
    )
    return [SignedHead(*row) for row in rows]


async def add_signed_head(tx: Tx, tenant_id: UUID, head: SignedHead) -> None:
    """Keep a signed head; one that is there already stays."""
    await tx.run(
        "INSERT INTO audit_signed_heads (tenant_id, seq, hash, signed_at, key_id, signature)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        tenant_id,
        head.seq,
        head.hash,
        head.signed_at,
        head.key_id,
        head.signature,
    )


async def list_keys(tx: Tx) -> list[KeyRow]:
    """Return the signing keys, newest first."""
    rows = await tx.fetch(
        "SELECT key_id, public_key, sealed, created_at FROM audit_signing_keys ORDER BY created_at DESC, key_id"
    )
    return [KeyRow(*row) for row in rows]


async def add_key(tx: Tx, key: KeyRow) -> None:
    """Keep a new signing key."""
    await tx.run(
        "INSERT INTO audit_signing_keys (key_id, public_key, sealed, created_at) VALUES ($1, $2, $3, $4)",
        key.key_id,
        key.public_key,
        key.sealed,
        key.created_at,
    )


async def reseal_key(tx: Tx, key_id: str, sealed: bytes) -> None:
    """Store a key's secret half as sealed anew."""
    await tx.run("UPDATE audit_signing_keys SET sealed = $2 WHERE key_id = $1", key_id, sealed)


async def lock_keys(tx: Tx) -> None:
    """Wait until nobody else makes a signing key."""
    await tx.run("SELECT pg_advisory_xact_lock(hashtextextended('audit_signing_keys', 0))")


async def list_tenants(tx: Tx) -> list[UUID]:
    """Return every tenant that has a log, or something that proves that it had one."""
    rows = await tx.fetch(
        "SELECT tenant_id FROM audit_heads UNION SELECT tenant_id FROM audit_signed_heads"
        " UNION SELECT tenant_id FROM audit_checks ORDER BY tenant_id"
    )
    return [row["tenant_id"] for row in rows]


async def find_check(tx: Tx, tenant_id: UUID) -> Check | None:
    """Return the outcome of the last check of a tenant's log."""
    row = await tx.fetch_row(
        "SELECT last_seq, broken_seq, fault FROM audit_checks WHERE tenant_id = $1", tenant_id
    )
    return None if row is None else Check(*row)


async def save_check(tx: Tx, tenant_id: UUID, check: Check, now: datetime) -> None:
    """Keep the outcome of a check."""
    await tx.run(
        "INSERT INTO audit_checks (tenant_id, checked_at, last_seq, broken_seq, fault) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (tenant_id) DO UPDATE SET checked_at = excluded.checked_at, last_seq = excluded.last_seq,"
        " broken_seq = excluded.broken_seq, fault = excluded.fault",
        tenant_id,
        now,
        check.last_seq,
        check.broken_seq,
        check.fault,
    )


async def count_broken(tx: Tx) -> int:
    """Return how many logs the last checks found broken."""
    count: int = await tx.fetch_value("SELECT count(*) FROM audit_checks WHERE broken_seq IS NOT NULL")
    return count
