"""Verdicts of people and the version of a group's answers: tables and statements.

Each change of a group's verdicts takes the next version under the group's row lock. A verdict stands from its
``since`` until, and without, its ``until``: what stood at a version can be read for ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)

risk_answers = Table(
    "risk_answers",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("group_name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    PrimaryKeyConstraint("tenant_no", "group_name"),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("verdict_id", Uuid, nullable=False),
    Column("agent_no", BigInteger, nullable=False),
    Column("key", Text, nullable=False),
    Column("group_name", Text, nullable=False),
    Column("since", Integer, nullable=False),
    Column("until", Integer),
    Column("verdict", Text, nullable=False),
    Column("evidence", JSONB, nullable=False),
    Column("note", Text),
    Column("person", Text, nullable=False),
    Column("given_at", _INSTANT, nullable=False),
    Column("ended_at", _INSTANT),
    Column("ended_by", Text),
    PrimaryKeyConstraint("tenant_no", "verdict_id"),
    CheckConstraint("verdict IN ('confirmed', 'false_alarm', 'expected')", name="verdict"),
    Index("verdicts_agent_no_key_idx", "agent_no", "key", "verdict_id"),
    Index("verdicts_tenant_no_group_name_idx", "tenant_no", "group_name"),
    Index(
        "verdicts_standing_idx",
        "agent_no",
        "key",
        "person",
        unique=True,
        postgresql_where=text("until IS NULL"),
    ),
)

Line = tuple[str, str, str, str]
"""What a verdict is about: program (empty: never told), alphabet, evidence id, detail."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One verdict of one person on one process; ``ended_by`` is who replaced or withdrew it."""

    verdict_id: UUID
    agent_no: int
    key: str
    group: str
    verdict: str
    evidence: list[Line]
    note: str | None
    person: str
    given_at: datetime
    ended_at: datetime | None = None
    ended_by: str | None = None


_COLUMNS: Final = (
    "verdict_id, agent_no, key, group_name, verdict, evidence, note, person, given_at, ended_at, ended_by"
)


def _verdict(row: Any) -> Verdict:
    values = list(row)
    values[5] = msgspec.convert(values[5], list[Line])
    return Verdict(*values)


async def next_version(tx: Tx, tenant_no: int, group: str) -> int:
    """Take the next version of a group's answers; others who change them wait until this transaction ends."""
    return int(
        await tx.fetch_value(
            "INSERT INTO risk_answers AS a (tenant_no, group_name, version) VALUES ($1, $2, 1)"
            " ON CONFLICT (tenant_no, group_name) DO UPDATE SET version = a.version + 1 RETURNING version",
            tenant_no,
            group,
        )
    )


async def newest_version(tx: Tx, tenant_no: int, group: str) -> int:
    """Return the version of a group's answers; 0 when nobody has given one."""
    found = await tx.fetch_value(
        "SELECT version FROM risk_answers WHERE tenant_no = $1 AND group_name = $2", tenant_no, group
    )
    return int(found or 0)


async def list_standing(tx: Tx, tenant_no: int, group: str, version: int) -> list[tuple[str, list[Line]]]:
    """Return (verdict, evidence) of what stood at a version of a group's answers."""
    rows = await tx.fetch(
        "SELECT verdict, evidence FROM verdicts WHERE tenant_no = $1 AND group_name = $2 AND verdict <> 'confirmed'"
        " AND since <= $3 AND (until IS NULL OR until > $3)",
        tenant_no,
        group,
        version,
    )
    return [(row["verdict"], msgspec.convert(row["evidence"], list[Line])) for row in rows]


async def add(tx: Tx, tenant_no: int, made: Verdict, since: int) -> None:
    """Insert a verdict that stands from a version on."""
    await tx.run(
        "INSERT INTO verdicts (tenant_no, verdict_id, agent_no, key, group_name, since, verdict, evidence, note,"
        " person, given_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9, $10, $11)",
        tenant_no,
        made.verdict_id,
        made.agent_no,
        made.key,
        made.group,
        since,
        made.verdict,
        msgspec.json.encode(made.evidence).decode(),
        made.note,
        made.person,
        made.given_at,
    )


async def end(tx: Tx, tenant_no: int, verdict_id: UUID, until: int, by: tuple[str, datetime]) -> bool:
    """End a verdict at a version; False when it had ended. ``by``: who, and when."""
    return bool(
        await tx.fetch_value(
            "UPDATE verdicts SET until = $3, ended_by = $4, ended_at = $5"
            " WHERE tenant_no = $1 AND verdict_id = $2 AND until IS NULL RETURNING true",
            tenant_no,
            verdict_id,
            until,
            *by,
        )
    )


async def find_standing(tx: Tx, tenant_no: int, agent_no: int, key: str, person: str) -> Verdict | None:
    """Return what a person says of a process now."""
    row = await tx.fetch_row(
        f"SELECT {_COLUMNS} FROM verdicts WHERE tenant_no = $1 AND agent_no = $2 AND key = $3 AND person = $4"
        " AND until IS NULL",
        tenant_no,
        agent_no,
        key,
        person,
    )
    return None if row is None else _verdict(row)


async def get(tx: Tx, tenant_no: int, verdict_id: UUID) -> Verdict | None:
    """Return one verdict."""
    row = await tx.fetch_row(
        f"SELECT {_COLUMNS} FROM verdicts WHERE tenant_no = $1 AND verdict_id = $2", tenant_no, verdict_id
    )
    return None if row is None else _verdict(row)


async def list_of_process(
    tx: Tx, tenant_no: int, place: tuple[int, str], limit: int, after: Sequence[Any] | None
) -> list[Verdict]:
    """Return the verdicts on a process (agent, key), newest first, ended ones too; ``after`` = (verdict_id,)."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM verdicts WHERE tenant_no = $1 AND agent_no = $2 AND key = $3"
        " AND ($4::uuid IS NULL OR verdict_id < $4) ORDER BY verdict_id DESC LIMIT $5",
        tenant_no,
        *place,
        None if after is None else UUID(bytes=after[0]),
        limit,
    )
    return [_verdict(row) for row in rows]
