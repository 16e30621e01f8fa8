"""Held envelopes: table and statements."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, Integer, LargeBinary, Table

from guardhouse.foundation.database import TenantKey, Tx, metadata
from guardhouse.ingest.store import Owner

_INSTANT = DateTime(timezone=True)

held_envelopes = Table(
    "held_envelopes",
    metadata,
    Column("held_no", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant_no", BigInteger, nullable=False),
    Column("project_no", BigInteger, nullable=False),
    Column("received_at", _INSTANT, nullable=False),
    Column("tried_at", _INSTANT, nullable=False),
    Column("around", LargeBinary, nullable=False),
    Column("sender", LargeBinary, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Index("held_envelopes_tenant_no_project_no_idx", "tenant_no", "project_no", "held_no"),
)


@dataclass(frozen=True, slots=True)
class Held:
    """How much of a project is held."""

    envelopes: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Envelope:
    """One sealed envelope: its payload, the members ``around`` it as JSON, and who sent it, as JSON."""

    around: dict[str, bytes]
    sender: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class Waiting:
    """One held envelope that a key stored since it was tried last may open. ``project_id`` is active."""

    no: int
    tenant: TenantKey
    tenant_slug: str
    project_id: UUID
    received_at: datetime
    envelope: Envelope


_encode: Final = msgspec.json.encode
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _around(text: bytes) -> dict[str, bytes]:
    return {name: bytes(value) for name, value in _members.decode(text).items()}


async def lock_held(tx: Tx, owner: Owner) -> Held:
    """Let one transaction at a time hold envelopes of a project; returns what is held of it."""
    await tx.run("SELECT pg_advisory_xact_lock(hashtextextended('held ' || $1, 0))", str(owner.project_no))
    return await count_held(tx, owner)


async def count_held(tx: Tx, owner: Owner) -> Held:
    """Return how much is held of a project."""
    row = await tx.fetch_row(
        "SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM held_envelopes WHERE tenant_no = $1 AND project_no = $2",
        owner.tenant_no,
        owner.project_no,
    )
    return Held(0, 0) if row is None else Held(row[0], row[1])


async def add_held(tx: Tx, owner: Owner, envelope: Envelope, now: datetime) -> None:
    """Hold one envelope."""
    around = _encode({name: msgspec.Raw(value) for name, value in envelope.around.items()})
    await tx.run(
        "INSERT INTO held_envelopes (tenant_no, project_no, received_at, tried_at, around, sender, bytes, payload)"
        " VALUES ($1, $2, $3, $3, $4, $5, $6, $7)",
        owner.tenant_no,
        owner.project_no,
        now,
        around,
        envelope.sender,
        len(around) + len(envelope.payload),
        envelope.payload,
    )


async def find_waiting(tx: Tx, after: int, limit: int) -> Sequence[Waiting]:
    """Return held envelopes of all tenants that a newer key may open, oldest first, numbered above ``after``."""
    rows = await tx.fetch(
        "SELECT h.held_no, t.tenant_id, t.tenant_no, t.slug, p.project_id, h.received_at, h.around, h.sender,"
        " h.payload FROM held_envelopes h JOIN projects p ON p.project_no = h.project_no AND p.state = 'active'"
        " JOIN tenants t ON t.tenant_no = h.tenant_no AND t.tenant_id = p.tenant_id AND t.state = 'active'"
        " WHERE h.held_no > $1 AND EXISTS (SELECT FROM project_secrets s WHERE s.tenant_id = t.tenant_id"
        "  AND s.project_id = p.project_id AND s.kind = 'encryption' AND s.created_at > h.tried_at)"
        " ORDER BY h.held_no LIMIT $2",
        after,
        limit,
    )
    return [
        Waiting(
            no,
            TenantKey(tenant_id, tenant_no),
            slug,
            project_id,
            at,
            Envelope(_around(around), sender, payload),
        )
        for no, tenant_id, tenant_no, slug, project_id, at, around, sender, payload in rows
    ]


async def note_tried(tx: Tx, tenant_no: int, held_no: int, now: datetime) -> None:
    """Remember that no key stored by now opens an envelope."""
    await tx.run(
        "UPDATE held_envelopes SET tried_at = $3 WHERE tenant_no = $1 AND held_no = $2",
        tenant_no,
        held_no,
        now,
    )


async def delete_held(tx: Tx, tenant_no: int, held_no: int) -> bool:
    """Delete one envelope; False when it is gone already."""
    tag = await tx.run("DELETE FROM held_envelopes WHERE tenant_no = $1 AND held_no = $2", tenant_no, held_no)
    return tag == "DELETE 1"


async def prune_held(tx: Tx, before: datetime, limit: int) -> int:
    """Delete envelopes that were received before an instant, at most ``limit``; returns how many."""
    return await tx.delete_before("held_envelopes", "received_at", before, limit)
