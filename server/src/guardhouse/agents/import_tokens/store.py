"""Import tokens: table and statements. Of a token only its digest is kept."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    insert,
    select,
    tuple_,
    update,
)

from guardhouse.foundation.database import TenantKey, Tx, metadata

USE_NOTED_EVERY: Final = timedelta(minutes=1)
_INSTANT = DateTime(timezone=True)

import_tokens = Table(
    "import_tokens",
    metadata,
    Column("token_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("agent_no", BigInteger, ForeignKey("host_agents.agent_no"), nullable=False),
    Column("format", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("last_used_at", _INSTANT),
    Column("revoked_at", _INSTANT),
    UniqueConstraint("digest"),
    CheckConstraint("format IN ('falco', 'tetragon', 'tracee')", name="format"),
    Index("import_tokens_agent_no_created_at_idx", "agent_no", "created_at", "token_id"),
)


@dataclass(frozen=True, slots=True)
class ImportToken:
    """One import token as stored: everything but its text. ``last_used_at`` is up to a minute late."""

    id: UUID
    format: str
    created_at: datetime
    created_by: str
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Opened:
    """What a good token opens: the tenant, the agent and the format it is bound to."""

    token_id: UUID
    tenant: TenantKey
    tenant_slug: str
    agent_id: str
    format: str


_SHOWN = (
    import_tokens.c.token_id,
    import_tokens.c.format,
    import_tokens.c.created_at,
    import_tokens.c.created_by,
    import_tokens.c.last_used_at,
    import_tokens.c.revoked_at,
)


def _token(row: Any) -> ImportToken:
    return ImportToken(
        row.token_id, row.format, row.created_at, row.created_by, row.last_used_at, row.revoked_at
    )


async def add_token(tx: Tx, tenant_id: UUID, agent_no: int, token: ImportToken, digest: bytes) -> ImportToken:
    """Insert a token of an agent."""
    values: dict[str, Any] = {
        "token_id": token.id,
        "tenant_id": tenant_id,
        "agent_no": agent_no,
        "format": token.format,
        "digest": digest,
        "created_at": token.created_at,
        "created_by": token.created_by,
    }
    await tx.execute(insert(import_tokens).values(values))
    return token


async def list_tokens(
    tx: Tx, tenant_id: UUID, agent_no: int, limit: int, after: tuple[datetime, UUID] | None
) -> list[ImportToken]:
    """Return the tokens of an agent that are not revoked, in order of making."""
    query = select(*_SHOWN).where(
        import_tokens.c.tenant_id == tenant_id,
        import_tokens.c.agent_no == agent_no,
        import_tokens.c.revoked_at.is_(None),
    )
    place = (import_tokens.c.created_at, import_tokens.c.token_id)
    if after is not None:
        query = query.where(tuple_(*place) > after)
    return [_token(row) for row in await tx.execute(query.order_by(*place).limit(limit))]


async def revoke_token(
    tx: Tx, tenant_id: UUID, agent_no: int, token_id: UUID, now: datetime
) -> ImportToken | None:
    """End a token of an agent; None when it has no such token, or it has ended before."""
    row = (
        await tx.execute(
            update(import_tokens)
            .where(
                import_tokens.c.tenant_id == tenant_id,
                import_tokens.c.agent_no == agent_no,
                import_tokens.c.token_id == token_id,
                import_tokens.c.revoked_at.is_(None),
            )
            .values(revoked_at=now)
            .returning(*_SHOWN)
        )
    ).one_or_none()
    return None if row is None else _token(row)


async def open_token(tx: Tx, digest: bytes, now: datetime) -> Opened | None:
    """Return what a token opens, if it is good and its agent and tenant are active; notes its use.

    Asked before the tenant is known, as for any credential.
    """
    row = await tx.fetch_row(
        "SELECT i.token_id, i.tenant_id, t.tenant_no, t.slug, a.agent_id, i.format, i.last_used_at FROM import_tokens i"
        " JOIN host_agents a ON a.agent_no = i.agent_no AND a.tenant_id = i.tenant_id"
        " JOIN tenants t ON t.tenant_id = i.tenant_id"
        " WHERE i.digest = $1 AND i.revoked_at IS NULL AND a.state = 'active' AND t.state = 'active'",
        digest,
    )
    if row is None:
        return None
    if row["last_used_at"] is None or now - row["last_used_at"] >= USE_NOTED_EVERY:
        await tx.run(
            "UPDATE import_tokens SET last_used_at = $3 WHERE tenant_id = $1 AND token_id = $2",
            row["tenant_id"],
            row["token_id"],
            now,
        )
    return Opened(
        row["token_id"],
        TenantKey(row["tenant_id"], row["tenant_no"]),
        row["slug"],
        row["agent_id"],
        row["format"],
    )
