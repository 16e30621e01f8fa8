"""Host agents with their streams: tables and statements."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert

from guardhouse.foundation.database import TenantKey, Tx, metadata

_INSTANT = DateTime(timezone=True)

host_agents = Table(
    "host_agents",
    metadata,
    Column("agent_no", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("tenant_no", BigInteger, nullable=False),
    Column("agent_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("hostname", Text),
    Column("metadata", JSONB, nullable=False),
    Column("signature_modes", ARRAY(Text), nullable=False),
    Column("state", Text, nullable=False),
    Column("next_position", BigInteger, nullable=False),
    Column("last_seen", _INSTANT),
    Column("clock_skew_ms", BigInteger),
    Column("created_at", _INSTANT, nullable=False),
    Column("silent_told_at", _INSTANT),
    CheckConstraint("state IN ('active', 'deleted')", name="state"),
    Index(
        "host_agents_tenant_id_agent_id_key",
        "tenant_id",
        "agent_id",
        unique=True,
        postgresql_where=text("state = 'active'"),
    ),
)

agent_streams = Table(
    "agent_streams",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("agent_no", BigInteger, ForeignKey("host_agents.agent_no"), nullable=False),
    Column("stream", Text, nullable=False),
    Column("boot_id", Text),
    Column("alphabet", Text),
    Column("low_seq", BigInteger, nullable=False),
    Column("high_seq", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("seq_reused", Boolean, nullable=False),
    PrimaryKeyConstraint("tenant_no", "agent_no", "stream"),
)


@dataclass(frozen=True, slots=True)
class HostAgent:
    """One enrolled host. ``clock_skew_ms``: how far its clock was ahead, until a batch with good times comes."""

    no: int
    tenant: TenantKey
    id: str
    name: str
    hostname: str | None
    metadata: dict[str, Any]
    signature_modes: tuple[str, ...]
    next_position: int
    last_seen: datetime | None
    clock_skew_ms: int | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Stream:
    """What was received of one spool: lowest and highest ``seq`` and how many in between arrived."""

    stream: str
    boot_id: str | None
    alphabet: str | None
    low_seq: int
    high_seq: int
    received: int
    seq_reused: bool

    @property
    def missing(self) -> int:
        """Events that the agent numbered and that have not arrived."""
        return max(0, self.high_seq - self.low_seq + 1 - self.received)


@dataclass(frozen=True, slots=True)
class AgentFilter:
    """Which agents a list shows. ``seen_before`` / ``seen_after`` bound the last contact."""

    query: str | None = None
    seen_before: datetime | None = None
    seen_after: datetime | None = None
    never_seen: bool = False


_COLUMNS = (
    host_agents.c.agent_no,
    host_agents.c.tenant_id,
    host_agents.c.tenant_no,
    host_agents.c.agent_id,
    host_agents.c.name,
    host_agents.c.hostname,
    host_agents.c.metadata,
    host_agents.c.signature_modes,
    host_agents.c.next_position,
    host_agents.c.last_seen,
    host_agents.c.clock_skew_ms,
    host_agents.c.created_at,
)


def _agent(row: Any) -> HostAgent:
    return HostAgent(
        no=row.agent_no,
        tenant=TenantKey(row.tenant_id, row.tenant_no),
        id=row.agent_id,
        name=row.name,
        hostname=row.hostname,
        metadata=row.metadata,
        signature_modes=tuple(row.signature_modes),
        next_position=row.next_position,
        last_seen=row.last_seen,
        clock_skew_ms=row.clock_skew_ms,
        created_at=row.created_at,
    )


async def add_agent(tx: Tx, tenant: TenantKey, values: dict[str, Any]) -> HostAgent | None:
    """Insert an agent; None when the tenant has an active one with this id."""
    row = (
        await tx.execute(
            insert(host_agents)
            .values(tenant_id=tenant.id, tenant_no=tenant.no, state="active", next_position=1, **values)
            .on_conflict_do_nothing(
                index_elements=["tenant_id", "agent_id"], index_where=host_agents.c.state == text("'active'")
            )
            .returning(*_COLUMNS)
        )
    ).one_or_none()
    return None if row is None else _agent(row)


async def find_agent(tx: Tx, tenant_id: UUID, agent_id: str) -> HostAgent | None:
    """Return an active agent of a tenant."""
    row = (
        await tx.execute(
            select(*_COLUMNS).where(
                host_agents.c.tenant_id == tenant_id,
                host_agents.c.agent_id == agent_id,
                host_agents.c.state == "active",
            )
        )
    ).one_or_none()
    return None if row is None else _agent(row)


async def list_agents(
    tx: Tx, tenant_id: UUID, wanted: AgentFilter, limit: int, after: int | None = None
) -> list[HostAgent]:
    """Return active agents in order of enrolment."""
    query = select(*_COLUMNS).where(host_agents.c.tenant_id == tenant_id, host_agents.c.state == "active")
    if wanted.query is not None:
        query = query.where(
            or_(
                host_agents.c.agent_id.icontains(wanted.query, autoescape=True),
                host_agents.c.name.icontains(wanted.query, autoescape=True),
                host_agents.c.hostname.icontains(wanted.query, autoescape=True),
            )
        )
    if wanted.never_seen:
        query = query.where(host_agents.c.last_seen.is_(None))
    if wanted.seen_before is not None:
        query = query.where(host_agents.c.last_seen < wanted.seen_before)
    if wanted.seen_after is not None:
        query = query.where(host_agents.c.last_seen >= wanted.seen_after)
    if after is not None:
        query = query.where(host_agents.c.agent_no > after)
    return [_agent(row) for row in await tx.execute(query.order_by(host_agents.c.agent_no).limit(limit))]


async def update_agent(tx: Tx, agent_no: int, values: dict[str, Any]) -> HostAgent:
    """Change members of an agent and return it."""
    row = await tx.execute(
        update(host_agents).where(host_agents.c.agent_no == agent_no).values(values).returning(*_COLUMNS)
    )
    return _agent(row.one())


async def list_streams(tx: Tx, agent_nos: Sequence[int]) -> dict[int, list[Stream]]:
    """Return the streams of some agents, by agent number."""
    rows = await tx.execute(
        select(agent_streams)
        .where(agent_streams.c.agent_no.in_(agent_nos))
        .order_by(agent_streams.c.agent_no, agent_streams.c.stream)
    )
    found: dict[int, list[Stream]] = {no: [] for no in agent_nos}
    for row in rows:
        found[row.agent_no].append(
            Stream(
                row.stream, row.boot_id, row.alphabet, row.low_seq, row.high_seq, row.received, row.seq_reused
            )
        )
    return found


async def lock_agent(tx: Tx, tenant: TenantKey, agent_id: str) -> tuple[int, int] | None:
    """Lock an active agent's row until commit; returns its number and next position."""
    row = await tx.fetch_row(
        "SELECT agent_no, next_position FROM host_agents"
        " WHERE tenant_id = $1 AND agent_id = $2 AND state = 'active' FOR UPDATE",
        tenant.id,
        agent_id,
    )
    return None if row is None else (row["agent_no"], row["next_position"])


async def advance(tx: Tx, agent_no: int, next_position: int, seen: datetime, skew_ms: int | None) -> None:
    """Move a locked agent's next position on and note the contact; a skew of 0 takes the flag away."""
    await tx.run(
        "UPDATE host_agents SET next_position = $2, last_seen = $3,"
        " clock_skew_ms = nullif(coalesce($4, clock_skew_ms), 0) WHERE agent_no = $1",
        agent_no,
        next_position,
        seen,
        skew_ms,
    )


async def get_high_seq(tx: Tx, agent_no: int, stream: str) -> int | None:
    """Return the highest ``seq`` received of a stream."""
    found: int | None = await tx.fetch_value(
        "SELECT high_seq FROM agent_streams WHERE agent_no = $1 AND stream = $2", agent_no, stream
    )
    return found


async def note_stream(tx: Tx, tenant_no: int, agent_no: int, seen: Stream) -> None:
    """Widen what is known of a stream by one batch's lowest, highest and count."""
    await tx.run(
        "INSERT INTO agent_streams AS s (tenant_no, agent_no, stream, boot_id, alphabet, low_seq, high_seq, received,"
        " seq_reused) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
        " ON CONFLICT (tenant_no, agent_no, stream) DO UPDATE SET boot_id = coalesce(excluded.boot_id, s.boot_id),"
        " alphabet = coalesce(excluded.alphabet, s.alphabet), low_seq = least(s.low_seq, excluded.low_seq),"
        " high_seq = greatest(s.high_seq, excluded.high_seq), received = s.received + excluded.received,"
        " seq_reused = s.seq_reused OR s.received + excluded.received"
        " > greatest(s.high_seq, excluded.high_seq) - least(s.low_seq, excluded.low_seq) + 1",
        tenant_no,
        agent_no,
        seen.stream,
        seen.boot_id,
        seen.alphabet,
        seen.low_seq,
        seen.high_seq,
        seen.received,
        seen.seq_reused,
    )
