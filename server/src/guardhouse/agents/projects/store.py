"""Projects: table and statements. A project is found by id, slug or external id, and by its number in telemetry."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert

from guardhouse.agents.projects.settings import ProjectSettings
from guardhouse.foundation.database import TenantKey, Tx, metadata

_INSTANT = DateTime(timezone=True)

projects = Table(
    "projects",
    metadata,
    Column("project_id", Uuid, primary_key=True),
    Column("project_no", BigInteger, Identity(always=True), nullable=False, unique=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("slug", Text, nullable=False),
    Column("external_ids", ARRAY(Text), nullable=False),
    Column("state", Text, nullable=False),
    Column("settings", JSONB, nullable=False),
    Column("skewed_at", _INSTANT),
    Column("created_at", _INSTANT, nullable=False),
    Column("name", Text),
    Column("archived_at", _INSTANT),
    Column("version", Integer, nullable=False, server_default=text("1")),
    UniqueConstraint("tenant_id", "slug"),
    UniqueConstraint("tenant_id", "project_id"),  # what API keys refer to
    CheckConstraint("state IN ('active', 'archived', 'deleted')", name="state"),
)


@dataclass(frozen=True, slots=True)
class Project:
    """What one application's telemetry belongs to. ``no`` is its compact number inside telemetry rows.

    ``name``: for people, its slug where none was given.
    ``skewed_at``: when an item with an unusable clock last came in. ``version`` grows with every change by people.
    """

    id: UUID
    no: int
    slug: str
    name: str
    external_ids: tuple[str, ...]
    state: str
    settings: ProjectSettings
    skewed_at: datetime | None
    created_at: datetime
    archived_at: datetime | None
    version: int


_NAMES = (
    "project_id", "project_no", "slug", "name", "external_ids", "state", "settings", "skewed_at", "created_at",
    "archived_at", "version",
)  # fmt: skip
_PROJECT = tuple(projects.c[name] for name in _NAMES)


def _project(row: Any) -> Project:
    project_id, no, slug, name, external_ids, state, settings, *rest = row
    read = msgspec.convert(settings, ProjectSettings)
    return Project(project_id, no, slug, name or slug, tuple(external_ids), state, read, *rest)


async def find_project(tx: Tx, tenant_id: UUID, name: str) -> Project | None:
    """Return the project that is called ``name``: by id, else slug, else external id; case counts.

    An active one goes before an archived one.
    """
    row = await tx.fetch_row(
        f"SELECT {', '.join(_NAMES)} FROM projects"
        " WHERE tenant_id = $1 AND state IN ('active', 'archived')"
        " AND (project_id::text = $2 OR slug = $2 OR external_ids @> ARRAY[$2])"
        " ORDER BY state = 'active' DESC, project_id::text = $2 DESC, slug = $2 DESC, project_no LIMIT 1",
        tenant_id,
        name,
    )
    return None if row is None else _project(row)


async def get_project(tx: Tx, tenant_id: UUID, project_id: UUID, *, lock: bool = False) -> Project | None:
    """Return a project of a tenant, active or archived; ``lock`` keeps it as it is until commit."""
    query = select(*_PROJECT).where(
        projects.c.tenant_id == tenant_id,
        projects.c.project_id == project_id,
        projects.c.state != "deleted",
    )
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _project(row)


async def list_projects(
    tx: Tx, tenant_id: UUID, state: str, limit: int, *, after: int = 0, only: UUID | None = None
) -> list[Project]:
    """Return projects of a tenant in one state, in order of making; ``only``: at most this one."""
    query = select(*_PROJECT).where(
        projects.c.tenant_id == tenant_id, projects.c.state == state, projects.c.project_no > after
    )
    if only is not None:
        query = query.where(projects.c.project_id == only)
    return [_project(row) for row in await tx.execute(query.order_by(projects.c.project_no).limit(limit))]


async def find_taken(tx: Tx, tenant_id: UUID, names: list[str], other_than: UUID) -> list[str]:
    """Return which of these names mean another project of the tenant already."""
    rows = await tx.fetch(
        "SELECT DISTINCT n FROM unnest($2::text[]) AS u(n) JOIN projects p ON p.tenant_id = $1 AND p.project_id <> $3"
        " AND p.state IN ('active', 'archived')"
        " AND (p.project_id::text = n OR p.slug = n OR p.external_ids @> ARRAY[n]) ORDER BY n",
        tenant_id,
        names,
        other_than,
    )
    return [row[0] for row in rows]


async def lock_projects(tx: Tx, tenant_no: int) -> None:
    """Let one transaction at a time make projects of a tenant, or change what they are called."""
    await tx.run("SELECT pg_advisory_xact_lock(hashtextextended('projects ' || $1, 0))", str(tenant_no))


async def count_projects(tx: Tx, tenant_id: UUID) -> int:
    """Return how many active projects a tenant has."""
    found: int = await tx.fetch_value(
        "SELECT count(*) FROM projects WHERE tenant_id = $1 AND state = 'active'", tenant_id
    )
    return found


async def may_create_projects(tx: Tx, tenant_id: UUID) -> bool:
    """Tell whether the tenant lets clients make projects by naming them."""
    found: bool = await tx.fetch_value(
        "SELECT settings->>'auto_create_projects' IS DISTINCT FROM 'false' FROM tenants WHERE tenant_id = $1",
        tenant_id,
    )
    return found


async def let_create_projects(tx: Tx, tenant_id: UUID, *, allowed: bool) -> None:
    """Say whether clients of the tenant make projects by naming them."""
    await tx.run(
        "UPDATE tenants SET settings = settings || jsonb_build_object('auto_create_projects', $2::boolean)"
        " WHERE tenant_id = $1",
        tenant_id,
        allowed,
    )


async def add_project(tx: Tx, tenant_id: UUID, values: dict[str, Any]) -> Project | None:
    """Insert a project; None when the slug is taken, by an archived one too."""
    row = (
        await tx.execute(
            insert(projects)
            .values(tenant_id=tenant_id, state="active", **{"settings": {}, **values})
            .on_conflict_do_nothing()
            .returning(*_PROJECT)
        )
    ).one_or_none()
    return None if row is None else _project(row)


async def change_project(tx: Tx, tenant_id: UUID, project_id: UUID, values: dict[str, Any]) -> Project:
    """Change members of a project and return it in its next version."""
    row = await tx.execute(
        update(projects)
        .where(projects.c.tenant_id == tenant_id, projects.c.project_id == project_id)
        .values(version=projects.c.version + 1, **values)
        .returning(*_PROJECT)
    )
    return _project(row.one())


async def note_skew(tx: Tx, project_no: int, at: datetime) -> None:
    """Remember that a project sent an item whose clock is unusable; the note is renewed once a day."""
    await tx.run(
        "UPDATE projects SET skewed_at = $2::timestamptz WHERE project_no = $1"
        " AND (skewed_at IS NULL OR skewed_at < $2::timestamptz - interval '1 day')",
        project_no,
        at,
    )


async def list_retentions(tx: Tx) -> list[tuple[int, int, int]]:
    """Return tenant number, project number and days of every project, of all tenants, that keeps telemetry shorter."""
    rows = await tx.fetch(
        "SELECT t.tenant_no, p.project_no, (p.settings->>'retention_days')::integer FROM projects p"
        " JOIN tenants t USING (tenant_id) WHERE p.settings->>'retention_days' IS NOT NULL ORDER BY p.project_no"
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def list_archived(tx: Tx, before: datetime) -> list[tuple[TenantKey, UUID]]:
    """Return the projects of all tenants that were archived before an instant."""
    rows = await tx.fetch(
        "SELECT t.tenant_id, t.tenant_no, p.project_id FROM projects p JOIN tenants t USING (tenant_id)"
        " WHERE p.state = 'archived' AND p.archived_at < $1 ORDER BY p.project_no",
        before,
    )
    return [(TenantKey(row[0], row[1]), row[2]) for row in rows]
