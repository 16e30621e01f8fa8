"""The audit log's tables and the statements that write and list it.

Sequence, time, previous hash and hash are the database's own.
"""

from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from guardhouse.foundation.database import Tx, metadata
from guardhouse.foundation.sql_literal import sql_literal

audit_heads = Table(
    "audit_heads",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("tenant_id", Uuid, nullable=False),  # one of audit_heads, by the trigger; a key would lock tenants
    Column("seq", BigInteger, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("actor", Text, nullable=False),
    Column("credential", Text),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("before", JSONB),
    Column("after", JSONB),
    Column("reason", Text),
    Column("ip", Text),
    Column("user_agent", Text),
    Column("correlation_id", Text, nullable=False),
    Column("prev_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "seq"),
    Index("audit_log_tenant_id_at_idx", "tenant_id", "at", "seq"),
)

audit_signing_keys = Table(
    "audit_signing_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

audit_signed_heads = Table(
    "audit_signed_heads",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("signed_at", DateTime(timezone=True), nullable=False),
    Column("key_id", Text, ForeignKey("audit_signing_keys.key_id"), nullable=False),
    Column("signature", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "seq"),
)

audit_checks = Table(
    "audit_checks",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), primary_key=True),
    Column("checked_at", DateTime(timezone=True), nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("broken_seq", BigInteger),
    Column("fault", Text),
)

_APPEND: Final = (
    "INSERT INTO audit_log (tenant_id, actor, credential, action, target, before, after, reason, ip, user_agent,"
    " correlation_id) VALUES "
)


@dataclass(frozen=True, slots=True)
class Line:
    """What is written of one entry; ``before`` and ``after`` are JSON texts."""

    tenant_id: UUID
    actor: str
    credential: str | None
    action: str
    target: str
    before: str | None
    after: str | None
    reason: str | None
    ip: str | None
    user_agent: str | None
    correlation_id: str


def append(tx: Tx, line: Line) -> None:
    """Write one entry with the commit; a trigger gives it its place in the chain."""
    values = (str(line.tenant_id), *astuple(line)[1:])
    tx.run_last(f"{_APPEND}({', '.join(map(sql_literal, values))})")


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One entry as stored; ``before`` and ``after`` are the JSON texts that the hash covers."""

    tenant_id: UUID
    seq: int
    at: datetime
    actor: str
    credential: str | None
    action: str
    target: str
    before: str | None
    after: str | None
    reason: str | None
    ip: str | None
    user_agent: str | None
    correlation_id: str
    prev_hash: bytes
    hash: bytes


_ENTRY: Final = (
    "tenant_id, seq, at, actor, credential, action, target, before::text AS before, after::text AS after, reason, ip,"
    " user_agent, correlation_id, prev_hash, hash"
)


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which entries to list; a text that ends in ``*`` is the beginning of what is meant.

    ``area`` and ``own_actor`` belong together: only actions that begin so, or what this actor did.
    """

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    area: tuple[str, ...] | None = None
    own_actor: str | None = None


async def list_entries(
    tx: Tx, tenant_id: UUID, wanted: EntryFilter, limit: int, before_seq: int | None
) -> list[StoredEntry]:
    """Return entries of a tenant, newest first, below ``before_seq``."""
    values: list[object] = [tenant_id, limit]
    conditions = ["tenant_id = $1"]

    def add(condition: str, *given: object) -> None:
        places = [f"${len(values) + number}" for number in range(1, len(given) + 1)]
        conditions.append(condition.format(*places))
        values.extend(given)

    for column, text in (("actor", wanted.actor), ("action", wanted.action), ("target", wanted.target)):
        if text is not None:
            begins = text.endswith("*")
            add(f"starts_with({column}, {{}})" if begins else f"{column} = {{}}", text.removesuffix("*"))
    if wanted.since is not None:
        add("at >= {}", wanted.since)
    if wanted.until is not None:
        add("at < {}", wanted.until)
    if wanted.area is not None:
        add("(actor = {} OR split_part(action, '.', 1) = ANY ({}::text[]))", wanted.own_actor, [*wanted.area])
    if before_seq is not None:
        add("seq < {}", before_seq)
    rows = await tx.fetch(
        f"SELECT {_ENTRY} FROM audit_log WHERE {' AND '.join(conditions)} ORDER BY seq DESC LIMIT $2", *values
    )
    return [StoredEntry(*row) for row in rows]


async def read_span(tx: Tx, tenant_id: UUID, first: int, last: int) -> list[StoredEntry]:
    """Return the entries numbered ``first`` to ``last``, in order."""
    rows = await tx.fetch(
        f"SELECT {_ENTRY} FROM audit_log WHERE tenant_id = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq",
        tenant_id,
        first,
        last,
    )
    return [StoredEntry(*row) for row in rows]
