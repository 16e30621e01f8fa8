"""Statements of cooling: who is due, what of an agent may change by time alone, and what has been shown."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from guardhouse.foundation.database import Tx
from guardhouse.scores.store import CURSOR_COLUMNS, GROUP_OF_AGENT, LANES, Backlog, Cursor

# The agent's own clock, run on at the pace of ours since it was last heard.
_NOW_THERE: Final = "c.clock_at + ($2::timestamptz - c.heard_at)"


async def list_due(
    tx: Tx, lanes: Sequence[int], now: datetime, limit: int, without: Sequence[int]
) -> list[tuple[Backlog, datetime]]:
    """Return agents of these lanes whose state has changed by time alone, each with its present event time.

    Agents with events to score are left out: those come first.
    """
    rows = await tx.fetch(
        "SELECT a.tenant_no, a.tenant_id, a.agent_no, a.agent_id, c.position, c.position AS last,"
        f" {GROUP_OF_AGENT} AS group_name, c.profile_version, c.answers_version, c.rules_version, a.last_seen,"
        f" {_NOW_THERE} AS now_there"
        " FROM score_cursors c JOIN host_agents a USING (agent_no)"
        f" WHERE c.cools_at IS NOT NULL AND a.agent_no % {LANES} = ANY($1::int[]) AND c.cools_at <= {_NOW_THERE}"
        " AND a.next_position - 1 = c.position AND a.agent_no <> ALL($4::bigint[]) ORDER BY a.agent_no LIMIT $3",
        list(lanes),
        now,
        limit,
        list(without),
    )
    return [(Backlog(*row[:-1]), row["now_there"]) for row in rows]


async def lock_cursor(tx: Tx, agent_no: int) -> Cursor | None:
    """Return where scoring of an agent stands, held against a step until the end of the transaction."""
    row = await tx.fetch_row(
        f"SELECT {', '.join(CURSOR_COLUMNS)} FROM score_cursors WHERE agent_no = $1 FOR UPDATE", agent_no
    )
    return None if row is None else Cursor(*row)


async def load_hot(tx: Tx, agent_no: int) -> list[bytes]:
    """Return the packed states that time alone will change, with those of their roots."""
    rows = await tx.fetch(
        "SELECT s.state FROM process_states s WHERE s.agent_no = $1 AND s.key IN"
        " (SELECT key FROM processes WHERE agent_no = $1 AND hot"
        " UNION SELECT root_key FROM processes WHERE agent_no = $1 AND hot) ORDER BY s.key",
        agent_no,
    )
    return [row["state"] for row in rows]


async def show_cooled(tx: Tx, agent_no: int, rows: Sequence[tuple[str, str, str, int]]) -> None:
    """Show processes (key, band, band and risk of the tree) as they have cooled; their states stay."""
    await tx.run_many(
        "UPDATE processes SET band = $3, tree_band = $4, tree_risk = $5 WHERE agent_no = $1 AND key = $2",
        [(agent_no, *row) for row in rows],
    )


async def note_sweep(tx: Tx, agent_no: int, swept_at: datetime, cools_at: datetime | None) -> None:
    """Remember up to when cooling has been shown, and when there is more."""
    await tx.run(
        "UPDATE score_cursors SET swept_at = $2, cools_at = $3 WHERE agent_no = $1",
        agent_no,
        swept_at,
        cools_at,
    )
