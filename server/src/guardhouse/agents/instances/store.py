"""Processes that report in, their reports, and the contacts not yet taken in: tables and statements.

Whoever changes instances of a project holds its lock, so there is one writer per project; requests that bring
telemetry only append to ``instance_contacts`` and wait for nobody.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from guardhouse.agents.instances.ledger import Ledger, Received
from guardhouse.agents.instances.state import State
from guardhouse.foundation.database import TenantKey, Tx, metadata
from guardhouse.foundation.sql_literal import sql_literal

REPORTS_KEPT: Final = 100
_INSTANT = DateTime(timezone=True)
_COUNTED: Final = ("stored", "rolled_up", "duplicates", "rejected")
_LANES: Final = ("events", "metrics")

instances = Table(
    "instances",
    metadata,
    Column("instance_no", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant_no", BigInteger, nullable=False),
    Column("project_no", BigInteger, ForeignKey("projects.project_no"), nullable=False),
    Column("instance_id", Uuid, nullable=False),
    Column("named", Boolean, nullable=False),
    Column("installation", Text, nullable=False),
    Column("started_at", _INSTANT),
    Column("first_seen_at", _INSTANT, nullable=False),
    Column("last_seen_at", _INSTANT, nullable=False),
    Column("last_report_at", _INSTANT),
    Column("reported_at", _INSTANT),
    Column("gaps", ARRAY(Integer), nullable=False),
    Column("health", Text),
    Column("buffered", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("told", Text),
    Column("told_seq", BigInteger, nullable=False),
    Column("due_at", _INSTANT),
    Column("closed", Text),
    Column("heir_id", Uuid),
    Column("user_agent", Text, nullable=False),
    Column("agent_version", Text),
    Column("guard_version", Text),
    Column("guard_core_version", Text),
    Column("signature_form", Text),
    Column("encryption", Text),
    Column("remarks", JSONB, nullable=False),
    Column("rules_served", BigInteger),
    Column("rules_served_at", _INSTANT),
    Column("rules_applied", BigInteger),
    Column("rules_applied_at", _INSTANT),
    Column("process", JSONB, nullable=False),
    Column("seq", BigInteger),
    Column("ledger", JSONB(none_as_null=True)),
    Column("ledger_at", _INSTANT),
    Column("batches", BigInteger, nullable=False),
    Column("replays", BigInteger, nullable=False),
    *(Column(f"{lane}_{name}", BigInteger, nullable=False) for lane in _LANES for name in _COUNTED),
    Column("unaccounted_since", _INSTANT),
    Column("unaccounted_told_at", _INSTANT),
    Column("archived_at", _INSTANT),
    UniqueConstraint("tenant_no", "instance_id"),
    CheckConstraint("state IN ('healthy', 'degraded', 'late', 'silent', 'ended', 'unclean')", name="state"),
    CheckConstraint("closed IN ('ended', 'unclean')", name="closed"),
    Index("instances_project_no_instance_no_idx", "project_no", "instance_no"),
    Index("instances_project_no_installation_idx", "project_no", "installation"),
    Index("instances_due_at_idx", "due_at"),
)

instance_reports = Table(
    "instance_reports",
    metadata,
    Column("report_no", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant_no", BigInteger, nullable=False),
    Column("instance_no", BigInteger, ForeignKey("instances.instance_no"), nullable=False),
    Column("received_at", _INSTANT, nullable=False),
    Column("report", JSONB, nullable=False),
    Index("instance_reports_instance_no_report_no_idx", "instance_no", "report_no"),
)

instance_contacts = Table(
    "instance_contacts",
    metadata,
    Column("contact_no", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant_no", BigInteger, nullable=False),
    Column("project_no", BigInteger, nullable=False),
    Column("at", _INSTANT, nullable=False),
    Column("data", Text, nullable=False),
    Index("instance_contacts_project_no_contact_no_idx", "project_no", "contact_no"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where and when a process was heard: a project of a tenant, at an instant."""

    tenant: TenantKey
    project_no: int
    project_id: UUID
    at: datetime


@dataclass(slots=True, kw_only=True)
class Instance:
    """One process. ``no`` is 0 until it is stored; ``named``: the process said its id itself.

    ``reported_at`` is the client's own time of its last report, ``gaps`` are seconds between reports by our clock,
    ``told`` is the last trouble that was published, ``remarks`` has the last time of each.
    """

    no: int = 0
    id: UUID
    named: bool
    installation: str
    started_at: datetime | None = None
    first_seen_at: datetime
    last_seen_at: datetime
    last_report_at: datetime | None = None
    reported_at: datetime | None = None
    gaps: list[int] = field(default_factory=list)
    health: str | None = None
    buffered: int = 0
    state: State = "healthy"
    told: str | None = None
    told_seq: int = 0
    due_at: datetime | None = None
    closed: Literal["ended", "unclean"] | None = None
    heir_id: UUID | None = None
    user_agent: str = ""
    agent_version: str | None = None
    guard_version: str | None = None
    guard_core_version: str | None = None
    signature_form: str | None = None
    encryption: str | None = None
    remarks: dict[str, str] = field(default_factory=dict)
    rules_served: int | None = None
    rules_served_at: datetime | None = None
    rules_applied: int | None = None
    rules_applied_at: datetime | None = None
    process: dict[str, Any] = field(default_factory=dict)
    seq: int | None = None
    ledger: Ledger | None = None
    ledger_at: datetime | None = None
    batches: int = 0
    replays: int = 0
    events: Received = field(default_factory=Received)
    metrics: Received = field(default_factory=Received)
    unaccounted_since: datetime | None = None
    unaccounted_told_at: datetime | None = None
    archived_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """One status as received."""

    received_at: datetime
    report: dict[str, Any]


_NOT_COLUMNS: Final = {"no", "id", "events", "metrics", "ledger"}


def _instance(row: Any) -> Instance:
    values: dict[str, Any] = {
        lane: Received(*(getattr(row, f"{lane}_{name}") for name in _COUNTED)) for lane in _LANES
    }
    values |= {f.name: getattr(row, f.name) for f in fields(Instance) if f.name not in _NOT_COLUMNS}
    ledger = None if row.ledger is None else msgspec.convert(row.ledger, Ledger)
    return Instance(no=row.instance_no, id=row.instance_id, ledger=ledger, **values)


def _values(instance: Instance) -> dict[str, Any]:
    values = {f.name: getattr(instance, f.name) for f in fields(Instance) if f.name not in _NOT_COLUMNS}
    for lane in _LANES:
        received = getattr(instance, lane)
        values |= {f"{lane}_{name}": getattr(received, name) for name in _COUNTED}
    values["instance_id"] = instance.id
    values["ledger"] = None if instance.ledger is None else msgspec.to_builtins(instance.ledger)
    return values


def add_contact(tx: Tx, place: Place, data: str) -> None:
    """Append a contact in one message with COMMIT."""
    tx.run_last(
        "INSERT INTO instance_contacts (tenant_no, project_no, at, data) VALUES"
        f" ({place.tenant.no}, {place.project_no}, '{place.at.isoformat()}', {sql_literal(data)})"
    )


async def lock_instances(tx: Tx, project_no: int) -> None:
    """Let one transaction at a time change the instances of a project."""
    await tx.run("SELECT pg_advisory_xact_lock(hashtextextended('instances ' || $1, 0))", str(project_no))


async def take_contacts(tx: Tx, project_no: int, limit: int) -> list[tuple[datetime, str]]:
    """Take the oldest contacts of a project out of the queue, in their order."""
    rows = await tx.fetch(
        "WITH taken AS (DELETE FROM instance_contacts WHERE contact_no IN (SELECT contact_no FROM instance_contacts"
        " WHERE project_no = $1 ORDER BY contact_no LIMIT $2) RETURNING contact_no, at, data)"
        " SELECT at, data FROM taken ORDER BY contact_no",
        project_no,
        limit,
    )
    return [(row["at"], row["data"]) for row in rows]


async def find_named(tx: Tx, tenant_no: int, ids: Collection[UUID]) -> dict[UUID, tuple[int, Instance]]:
    """Return processes of a tenant by id, each with the number of its project."""
    if not ids:
        return {}
    rows = await tx.execute(
        select(instances).where(instances.c.tenant_no == tenant_no, instances.c.instance_id.in_(ids))
    )
    return {row.instance_id: (row.project_no, _instance(row)) for row in rows}


async def list_unnamed(tx: Tx, project_no: int, installations: Collection[str]) -> list[Instance]:
    """Return the unarchived processes of some installations that do not say who they are, the last to report first."""
    if not installations:
        return []
    rows = await tx.execute(
        select(instances)
        .where(
            instances.c.project_no == project_no,
            instances.c.installation.in_(installations),
            ~instances.c.named,
            instances.c.archived_at.is_(None),
        )
        .order_by(instances.c.last_report_at.desc().nulls_last(), instances.c.instance_no)
    )
    return [_instance(row) for row in rows]


async def list_due(tx: Tx, project_no: int, now: datetime, ahead: datetime, limit: int) -> list[Instance]:
    """Return instances of a project that time alone has changed, or that were heard after ``ahead``."""
    rows = await tx.execute(
        select(instances)
        .where(
            instances.c.project_no == project_no,
            instances.c.archived_at.is_(None),
            or_(instances.c.due_at <= now, instances.c.last_seen_at > ahead),
        )
        .order_by(instances.c.instance_no)
        .limit(limit)
    )
    return [_instance(row) for row in rows]


async def save(tx: Tx, place: Place, changed: Sequence[Instance]) -> None:
    """Write instances as they are now; new ones get their number."""
    for instance in changed:
        if instance.no:
            await tx.execute(
                update(instances).where(instances.c.instance_no == instance.no).values(_values(instance))
            )
        else:
            made = await tx.execute(
                insert(instances)
                .values(tenant_no=place.tenant.no, project_no=place.project_no, **_values(instance))
                .returning(instances.c.instance_no)
            )
            instance.no = made.scalar_one()


async def add_report(tx: Tx, tenant_no: int, instance_no: int, report: Report) -> None:
    """Keep a report, and of all the last hundred."""
    await tx.execute(
        insert(instance_reports).values(
            tenant_no=tenant_no, instance_no=instance_no, received_at=report.received_at, report=report.report
        )
    )
    await tx.run(
        "DELETE FROM instance_reports WHERE report_no IN (SELECT report_no FROM instance_reports"
        " WHERE instance_no = $1 ORDER BY report_no DESC OFFSET $2)",
        instance_no,
        REPORTS_KEPT,
    )


async def list_reports(tx: Tx, instance_no: int) -> list[Report]:
    """Return the reports of an instance, newest first."""
    rows = await tx.execute(
        select(instance_reports.c.received_at, instance_reports.c.report)
        .where(instance_reports.c.instance_no == instance_no)
        .order_by(instance_reports.c.report_no.desc())
    )
    return [Report(row.received_at, row.report) for row in rows]


async def list_instances(
    tx: Tx, project_no: int, *, archived: bool, limit: int, before: int | None
) -> list[Instance]:
    """Return instances of a project, the youngest first."""
    query = select(instances).where(
        instances.c.project_no == project_no, instances.c.archived_at.is_not(None) == archived
    )
    if before is not None:
        query = query.where(instances.c.instance_no < before)
    rows = await tx.execute(query.order_by(instances.c.instance_no.desc()).limit(limit))
    return [_instance(row) for row in rows]


async def list_with_ledger(tx: Tx, project_no: int, *, after: int, limit: int) -> list[Instance]:
    """Return instances of a project that keep a ledger, archived ones too, from after a number on."""
    rows = await tx.execute(
        select(instances)
        .where(
            instances.c.project_no == project_no,
            instances.c.instance_no > after,
            instances.c.ledger.is_not(None),
        )
        .order_by(instances.c.instance_no)
        .limit(limit)
    )
    return [_instance(row) for row in rows]


async def archive(tx: Tx, seen_before: datetime, now: datetime, limit: int) -> int:
    """Archive instances not heard since an instant, at most ``limit``; returns how many."""
    tag = await tx.run(
        "UPDATE instances SET archived_at = $2 WHERE instance_no IN (SELECT instance_no FROM instances"
        " WHERE archived_at IS NULL AND last_seen_at < $1 ORDER BY instance_no LIMIT $3 FOR UPDATE SKIP LOCKED)",
        seen_before,
        now,
        limit,
    )
    return int(tag.rpartition(" ")[2])
