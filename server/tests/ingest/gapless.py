"""Numbered events, and the check that every one of them has a position and none is there twice."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from server.tests.components.hosts import call
from server.tests.ingest.make import Door


def numbered(at: datetime, numbers: Sequence[int]) -> list[dict[str, Any]]:
    return [call(at=at + timedelta(milliseconds=n), seq=n) for n in numbers]


async def stored(door: Door) -> list[tuple[int, int]]:
    """Return (agent_no, position) of every event, in order."""
    rows = await door.rows("SELECT agent_no, position FROM process_events ORDER BY agent_no, position")
    return [(row[0], row[1]) for row in rows]


async def check_gapless(door: Door, expected: int) -> None:
    rows = await stored(door)
    by_agent: dict[int, list[int]] = {}
    for agent_no, position in rows:
        by_agent.setdefault(agent_no, []).append(position)
    for agent_no, positions in by_agent.items():
        assert positions == list(range(1, len(positions) + 1))
        last = await door.behind.fetchval(
            "SELECT next_position FROM host_agents WHERE agent_no = $1", agent_no
        )
        assert last == len(positions) + 1
    assert len(rows) == expected
