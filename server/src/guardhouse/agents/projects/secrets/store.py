"""Secrets of projects: table and statements. They are stored sealed; of one kind an active and a previous one live."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    delete,
    insert,
    select,
    update,
)

from guardhouse.foundation.database import Tx, metadata

Kind = Literal["encryption", "signing"]
USE_NOTED_EVERY: Final = timedelta(minutes=1)
_INSTANT = DateTime(timezone=True)

project_secrets = Table(
    "project_secrets",
    metadata,
    Column("secret_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("project_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("last4", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("last_used_at", _INSTANT),
    # A secret is of a project of its own tenant, whatever the code above believes.
    ForeignKeyConstraint(["tenant_id", "project_id"], ["projects.tenant_id", "projects.project_id"]),
    UniqueConstraint("tenant_id", "project_id", "kind", "state"),
    CheckConstraint("kind IN ('encryption', 'signing')", name="kind"),
    CheckConstraint("state IN ('active', 'previous')", name="state"),
)


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """One secret as stored. ``last_used_at`` is up to a minute late."""

    id: UUID
    kind: Kind
    state: str
    sealed: bytes
    last4: str
    created_at: datetime
    created_by: str
    last_used_at: datetime | None


_COLUMNS = (
    project_secrets.c.secret_id,
    project_secrets.c.kind,
    project_secrets.c.state,
    project_secrets.c.sealed,
    project_secrets.c.last4,
    project_secrets.c.created_at,
    project_secrets.c.created_by,
    project_secrets.c.last_used_at,
)


def _secret(row: Any) -> StoredSecret:
    return StoredSecret(*row)


async def list_secrets(tx: Tx, tenant_id: UUID, project_id: UUID, kind: Kind) -> list[StoredSecret]:
    """Return the secrets of one kind that are good: the active one, then the previous one."""
    rows = await tx.execute(
        select(*_COLUMNS)
        .where(
            project_secrets.c.tenant_id == tenant_id,
            project_secrets.c.project_id == project_id,
            project_secrets.c.kind == kind,
        )
        .order_by(project_secrets.c.state)
    )
    return [_secret(row) for row in rows]


async def add_secret(tx: Tx, tenant_id: UUID, project_id: UUID, secret: StoredSecret) -> None:
    """Insert the active secret of its kind: the one before becomes the previous, the one before that goes."""
    of_kind = (
        project_secrets.c.tenant_id == tenant_id,
        project_secrets.c.project_id == project_id,
        project_secrets.c.kind == secret.kind,
    )
    if await tx.fetch_value(
        "SELECT EXISTS (SELECT FROM project_secrets WHERE tenant_id = $1 AND project_id = $2 AND kind = $3"
        " AND state = 'active')",
        tenant_id,
        project_id,
        secret.kind,
    ):
        await tx.execute(delete(project_secrets).where(*of_kind, project_secrets.c.state == "previous"))
        await tx.execute(
            update(project_secrets)
            .where(*of_kind, project_secrets.c.state == "active")
            .values(state="previous")
        )
    values: dict[str, Any] = {
        "secret_id": secret.id,
        "tenant_id": tenant_id,
        "project_id": project_id,
        "kind": secret.kind,
        "state": secret.state,
        "sealed": secret.sealed,
        "last4": secret.last4,
        "created_at": secret.created_at,
        "created_by": secret.created_by,
    }
    await tx.execute(insert(project_secrets).values(values))


async def delete_secret(
    tx: Tx, tenant_id: UUID, project_id: UUID, kind: Kind, secret_id: UUID
) -> StoredSecret | None:
    """Delete a secret; None when the project has no such one."""
    row = (
        await tx.execute(
            delete(project_secrets)
            .where(
                project_secrets.c.tenant_id == tenant_id,
                project_secrets.c.project_id == project_id,
                project_secrets.c.kind == kind,
                project_secrets.c.secret_id == secret_id,
            )
            .returning(*_COLUMNS)
        )
    ).one_or_none()
    return None if row is None else _secret(row)


async def delete_all(tx: Tx, tenant_id: UUID, project_id: UUID) -> None:
    """Delete every secret of a project."""
    await tx.run(
        "DELETE FROM project_secrets WHERE tenant_id = $1 AND project_id = $2", tenant_id, project_id
    )


async def note_use(tx: Tx, tenant_id: UUID, secret_id: UUID, now: datetime) -> None:
    """Note that a secret was used, where that was not noted within the last minute."""
    await tx.run(
        "UPDATE project_secrets SET last_used_at = $3 WHERE tenant_id = $1 AND secret_id = $2"
        " AND (last_used_at IS NULL OR last_used_at <= $4)",
        tenant_id,
        secret_id,
        now,
        now - USE_NOTED_EVERY,
    )
