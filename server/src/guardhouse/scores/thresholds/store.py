"""Episodes: which processes stand above which thresholds of ``risk_score``."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, SmallInteger, Table, Text

from guardhouse.foundation.database import Tx, metadata

risk_score_episodes = Table(
    "risk_score_episodes",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("agent_no", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("threshold", SmallInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    PrimaryKeyConstraint("agent_no", "key", "threshold"),
)

Place = tuple[str, int]  # a process's key and a threshold


async def load_episodes(tx: Tx, agent_no: int) -> dict[Place, int]:
    """Return the episodes of an agent's processes that have not ended, each with the position where it began."""
    rows = await tx.fetch(
        "SELECT key, threshold, position FROM risk_score_episodes WHERE agent_no = $1", agent_no
    )
    return {(row["key"], row["threshold"]): row["position"] for row in rows}


async def prune_episodes(tx: Tx, before: datetime) -> None:
    """Forget episodes of processes that were last seen before an instant: whoever ended without saying so."""
    await tx.run(
        "DELETE FROM risk_score_episodes e USING processes p"
        " WHERE p.agent_no = e.agent_no AND p.key = e.key AND p.last_seen < $1",
        before,
    )


async def save_episodes(
    tx: Tx, tenant_no: int, agent_no: int, begun: dict[Place, int], ended: Collection[Place]
) -> None:
    """Write which episodes began and which ended."""
    await tx.run_many(
        "DELETE FROM risk_score_episodes WHERE agent_no = $1 AND key = $2 AND threshold = $3",
        [(agent_no, *place) for place in sorted(ended)],
    )
    await tx.run_many(
        "INSERT INTO risk_score_episodes (tenant_no, agent_no, key, threshold, position)"
        " VALUES ($1, $2, $3, $4, $5)",
        [(tenant_no, agent_no, *place, position) for place, position in sorted(begun.items())],
    )
