"""Verdict heads of a tenant by version: the table and its statements. What a version weighs never changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

from guardhouse.foundation.database import TenantKey, Tx, metadata
from guardhouse.scores.store import HEADS_NOW

_INSTANT = DateTime(timezone=True)
SHADOW: Final = "shadow"
ON: Final = "on"
OFF: Final = "off"

risk_heads = Table(
    "risk_heads",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("alphabet", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("auc", Double, nullable=False),
    Column("confirmed", Integer, nullable=False),
    Column("harmless", Integer, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("on_at", _INSTANT),
    Column("off_at", _INSTANT),
    Column("packed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_no", "version"),
    CheckConstraint("state IN ('shadow', 'on', 'off')", name="state"),
    Index("risk_heads_on_idx", "tenant_no", "alphabet", unique=True, postgresql_where=text("state = 'on'")),
)

_COLUMNS: Final = "version, alphabet, state, auc, confirmed, harmless, created_at, on_at, off_at"


@dataclass(frozen=True, slots=True)
class StoredHead:
    """One version without its weights; `auc` is how well runs it had not seen were told apart (0..1)."""

    version: int
    alphabet: str
    state: str
    auc: float
    confirmed: int
    harmless: int
    created_at: datetime
    on_at: datetime | None = None
    off_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A process whose calls a head may be trained on."""

    agent_no: int
    key: str
    root_key: str
    first_position: int
    last_position: int
    started_at: datetime
    last_seen: datetime


_JUDGED: Final = "p.agent_no, p.key, p.root_key, p.first_position, p.last_position, p.started_at, p.last_seen"


async def list_trainable(
    tx: Tx, made_before: datetime, confirmed: int, calls: int
) -> list[tuple[TenantKey, str]]:
    """Return (tenant, alphabet) with so many confirmed processes of so many calls and no head made lately."""
    rows = await tx.fetch(
        "SELECT a.tenant_id, a.tenant_no, p.alphabet FROM verdicts v JOIN processes p USING (agent_no, key)"
        " JOIN host_agents a USING (agent_no) WHERE v.verdict = 'confirmed' AND v.until IS NULL AND p.calls >= $3"
        " AND NOT EXISTS (SELECT 1 FROM risk_heads h WHERE h.tenant_no = p.tenant_no AND h.alphabet = p.alphabet"
        " AND h.created_at > $1) GROUP BY 1, 2, 3 HAVING count(DISTINCT (agent_no, key)) >= $2 ORDER BY 2, 3",
        made_before,
        confirmed,
        calls,
    )
    return [(TenantKey(row["tenant_id"], row["tenant_no"]), row["alphabet"]) for row in rows]


async def list_confirmed(
    tx: Tx, tenant_no: int, alphabet: str, since: datetime, calls: int, limit: int
) -> list[Judged]:  # fmt: skip
    """Return processes that somebody confirmed as an attack, begun since an instant, newest first."""
    rows = await tx.fetch(
        f"SELECT {_JUDGED} FROM processes p WHERE p.tenant_no = $1 AND p.alphabet = $2 AND p.started_at >= $3"
        " AND p.last_seen >= $3 AND p.calls >= $4 AND EXISTS (SELECT 1 FROM verdicts v WHERE v.tenant_no = $1"
        " AND v.agent_no = p.agent_no AND v.key = p.key AND v.verdict = 'confirmed' AND v.until IS NULL)"
        " ORDER BY p.last_seen DESC, p.agent_no DESC, p.key DESC LIMIT $5",
        tenant_no,
        alphabet,
        since,
        calls,
        limit,
    )
    return [Judged(*row) for row in rows]


async def list_quiet(
    tx: Tx, tenant_no: int, alphabet: str, times: tuple[datetime, datetime], calls: int, limit: int
) -> list[Judged]:
    """Return processes begun since one instant and last seen before another, newest first, in no incident's tree.

    Those that somebody confirmed, or whose tree's root somebody confirmed, are left out.
    """
    rows = await tx.fetch(
        f"SELECT {_JUDGED} FROM processes p WHERE p.tenant_no = $1 AND p.alphabet = $2 AND p.started_at >= $3"
        " AND p.last_seen >= $3 AND p.last_seen < $4 AND p.calls >= $5"
        " AND NOT EXISTS (SELECT 1 FROM verdicts v WHERE v.tenant_no = $1 AND v.agent_no = p.agent_no"
        " AND v.key IN (p.key, p.root_key) AND v.verdict = 'confirmed' AND v.until IS NULL)"
        " AND NOT EXISTS (SELECT 1 FROM risk_incidents i WHERE i.tenant_no = $1 AND i.agent_no = p.agent_no"
        " AND i.root_key = p.root_key) ORDER BY p.last_seen DESC, p.agent_no DESC, p.key DESC LIMIT $6",
        tenant_no,
        alphabet,
        *times,
        calls,
        limit,
    )
    return [Judged(*row) for row in rows]


async def next_version(tx: Tx, tenant_no: int) -> int:
    """Return the version that a tenant's next head gets; one that was forgotten is not given again."""
    found = await tx.fetch_value("SELECT max(version) FROM risk_heads WHERE tenant_no = $1", tenant_no)
    return int(found or 0) + 1


async def add(tx: Tx, tenant_no: int, head: StoredHead, packed: bytes) -> bool:
    """Insert a version; False when somebody else has made it."""
    return bool(
        await tx.fetch_value(
            "INSERT INTO risk_heads (tenant_no, version, alphabet, state, auc, confirmed, harmless, created_at,"
            " on_at, off_at, packed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
            " ON CONFLICT (tenant_no, version) DO NOTHING RETURNING true",
            tenant_no,
            head.version,
            head.alphabet,
            head.state,
            head.auc,
            head.confirmed,
            head.harmless,
            head.created_at,
            head.on_at,
            head.off_at,
            packed,
        )
    )


async def list_heads(tx: Tx, tenant_no: int, limit: int, after: Sequence[Any] | None) -> list[StoredHead]:
    """Return heads, newest first; ``after`` = (version,)."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM risk_heads WHERE tenant_no = $1 AND ($2::int IS NULL OR version < $2)"
        " ORDER BY version DESC LIMIT $3",
        tenant_no,
        None if after is None else after[0],
        limit,
    )
    return [StoredHead(*row) for row in rows]


async def hold(tx: Tx, tenant_no: int) -> dict[int, StoredHead]:
    """Return a tenant's heads by version; others who switch them wait until this transaction ends."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM risk_heads WHERE tenant_no = $1 ORDER BY version FOR UPDATE", tenant_no
    )
    return {row["version"]: StoredHead(*row) for row in rows}


async def switch(tx: Tx, tenant_no: int, version: int, state: str, now: datetime) -> None:
    """Switch a head on or off."""
    await tx.run(
        "UPDATE risk_heads SET state = $3, on_at = CASE WHEN $3 = 'on' THEN $4 ELSE on_at END,"
        " off_at = CASE WHEN $3 = 'off' THEN $4::timestamptz END WHERE tenant_no = $1 AND version = $2",
        tenant_no,
        version,
        state,
        now,
    )


async def list_versions(tx: Tx, tenant_no: int) -> list[int]:
    """Return the versions of a tenant's heads."""
    rows = await tx.fetch("SELECT version FROM risk_heads WHERE tenant_no = $1 ORDER BY version", tenant_no)
    return [row["version"] for row in rows]


async def load(tx: Tx, tenant_no: int, versions: Sequence[int]) -> list[tuple[int, bytes]]:
    """Return (version, packed weights) of heads, where stored."""
    rows = await tx.fetch(
        "SELECT version, packed FROM risk_heads WHERE tenant_no = $1 AND version = ANY($2::int[])",
        tenant_no,
        list(versions),
    )
    return [(row["version"], row["packed"]) for row in rows]


async def newest(tx: Tx, tenant_no: int) -> str:
    """Return which heads of a tenant look at processes now, as agents take them."""
    return str(await tx.fetch_value(f"SELECT {HEADS_NOW.format(tenant='$1::bigint')}", tenant_no))


async def list_ended(tx: Tx, made_before: datetime) -> list[tuple[TenantKey, int]]:
    """Return (tenant, version) of heads whose time in shadow is over."""
    rows = await tx.fetch(
        "SELECT DISTINCT a.tenant_id, h.tenant_no, h.version FROM risk_heads h JOIN host_agents a USING (tenant_no)"
        " WHERE h.state = 'shadow' AND h.created_at <= $1 ORDER BY 2, 3",
        made_before,
    )
    return [(TenantKey(row["tenant_id"], row["tenant_no"]), row["version"]) for row in rows]


async def prune(tx: Tx, before: datetime) -> None:
    """Forget heads that have been off since before an instant, but a tenant's newest, whose version counts on."""
    await tx.run(
        "DELETE FROM risk_heads h WHERE h.state = 'off' AND h.off_at < $1"
        " AND h.version < (SELECT max(n.version) FROM risk_heads n WHERE n.tenant_no = h.tenant_no)",
        before,
    )
