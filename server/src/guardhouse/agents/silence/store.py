"""Statements on agents that are not heard any more."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from guardhouse.foundation.database import Tx


@dataclass(frozen=True, slots=True)
class SilentHost:
    """An agent that has not been heard since ``last_seen``; ``position`` is where its events stand."""

    tenant_id: UUID
    agent_id: str
    last_seen: datetime
    position: int


async def take_silent(tx: Tx, seen_until: datetime, now: datetime, limit: int) -> list[SilentHost]:
    """Note of agents last heard at an instant or before that it has been told, each once per silence; returns them."""
    rows = await tx.fetch(
        "UPDATE host_agents a SET silent_told_at = $2 FROM (SELECT agent_no FROM host_agents"
        " WHERE state = 'active' AND last_seen <= $1 AND (silent_told_at IS NULL OR silent_told_at < last_seen)"
        " ORDER BY agent_no LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED) AS due WHERE a.agent_no = due.agent_no"
        " RETURNING a.tenant_id, a.agent_id, a.last_seen, a.next_position - 1",
        seen_until,
        now,
        limit,
    )
    return [SilentHost(*row) for row in rows]
