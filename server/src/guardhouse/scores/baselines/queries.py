"""The reading side of baselines for people: the newest of each program, and what waits to be learned."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.scores.baselines.store import StoredBaseline
from guardhouse.scores.store import GROUP_OF_AGENT


@dataclass(frozen=True, slots=True)
class Program:
    """The newest baseline of a program, without its content."""

    profile_id: UUID
    version: int
    group: str
    exe: str
    alphabet: str
    learned_at: datetime
    halved_at: datetime
    runs: int
    calls: int


async def list_programs(
    tx: Tx, tenant_no: int, wanted: tuple[str | None, str | None], limit: int, after: Sequence[Any] | None
) -> list[Program]:
    """Return programs in order of (group, id), of one group and with one path where asked (group, exe)."""
    group, exe = wanted
    rows = await tx.fetch(
        "SELECT DISTINCT ON (group_name, profile_id) profile_id, version, group_name, exe, alphabet, learned_at,"
        " halved_at, runs, calls FROM risk_baselines WHERE tenant_no = $1 AND exe <> ''"
        " AND ($2::text IS NULL OR group_name = $2) AND ($3::text IS NULL OR starts_with(exe, $3))"
        " AND ($4::text IS NULL OR (group_name, profile_id) > ($4, $5))"
        " ORDER BY group_name, profile_id, version DESC LIMIT $6",
        tenant_no,
        group,
        exe,
        None if after is None else after[0],
        None if after is None else UUID(bytes=after[1]),
        limit,
    )
    return [Program(*row) for row in rows]


async def get_program(tx: Tx, tenant_no: int, profile_id: UUID) -> StoredBaseline | None:
    """Return the newest baseline of a program."""
    row = await tx.fetch_row(
        "SELECT profile_id, version, group_name, exe, alphabet, learned_at, halved_at, runs, calls, packed"
        " FROM risk_baselines WHERE tenant_no = $1 AND profile_id = $2 AND exe <> '' ORDER BY version DESC LIMIT 1",
        tenant_no,
        profile_id,
    )
    return None if row is None else StoredBaseline(*row)


async def count_waiting(tx: Tx, tenant_no: int, group: str, exe: str, alphabet: str) -> dict[str, int]:
    """Return how many runs of a program wait, under `waiting`, or are left out, under the reason."""
    rows = await tx.fetch(
        "SELECT coalesce(r.left_out, 'waiting') AS why, count(*) AS runs FROM risk_runs r"
        f" JOIN host_agents a USING (agent_no) WHERE r.tenant_no = $1 AND {GROUP_OF_AGENT} = $2 AND r.exe = $3"
        " AND r.alphabet = $4 AND r.folded_to < r.last_position GROUP BY 1",
        tenant_no,
        group,
        exe,
        alphabet,
    )
    return {row["why"]: row["runs"] for row in rows}
