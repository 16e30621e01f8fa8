"""External issuers of a tenant: table and statements."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from guardhouse.foundation.database import Tx, metadata
from guardhouse.identity.store import LABELLED_TENANT, Tenant, labelled_tenant, tenants

_INSTANT = DateTime(timezone=True)

identity_issuers = Table(
    "identity_issuers",
    metadata,
    Column("issuer_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("audience", Text, nullable=False),
    Column("algorithms", ARRAY(Text), nullable=False),
    Column("client_id", Text),
    Column("sealed_secret", LargeBinary),
    Column("sign_in_scope", Text, nullable=False),
    Column("role_claim", Text, nullable=False),
    Column("role_map", JSONB, nullable=False),
    Column("scope_claim", Text),
    Column("scope_map", JSONB, nullable=False),
    Column("tenant_claim", Text),
    Column("tenant_value", Text),
    Column("state", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    CheckConstraint("state IN ('active', 'disabled')", name="state"),
    Index("identity_issuers_tenant_id_created_at_idx", "tenant_id", "created_at", "issuer_id"),
    Index("identity_issuers_issuer_idx", "issuer"),
)


@dataclass(frozen=True, slots=True)
class Issuer:
    """One external issuer, as a tenant trusts it.

    ``role_map`` turns values of ``role_claim`` into roles, ``scope_map`` those of ``scope_claim`` into scopes that
    narrow the role. ``tenant_claim`` must equal ``tenant_value`` where the issuer serves several organisations.
    """

    id: UUID
    tenant: Tenant
    name: str
    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    client_id: str | None
    sealed_secret: bytes | None
    sign_in_scope: str
    role_claim: str
    role_map: dict[str, str]
    scope_claim: str | None
    scope_map: dict[str, list[str]]
    tenant_claim: str | None
    tenant_value: str | None
    state: str
    version: int
    created_at: datetime
    created_by: str


_OWN: Final = tuple(column for column in identity_issuers.c if column.name != "tenant_id")
_ISSUERS: Final = select(
    *LABELLED_TENANT,
    *(column.label(f"own_{column.name}") for column in _OWN),
).join_from(identity_issuers, tenants, identity_issuers.c.tenant_id == tenants.c.tenant_id)


def _issuer(row: Any) -> Issuer:
    own = {column.name: getattr(row, f"own_{column.name}") for column in _OWN}
    own |= {"id": own.pop("issuer_id"), "algorithms": tuple(own["algorithms"])}
    return Issuer(
        tenant=labelled_tenant(row._mapping),  # noqa: SLF001 - SQLAlchemy documents it as public
        **own,
    )


async def add_issuer(tx: Tx, issuer: Issuer) -> None:
    """Insert one issuer."""
    row = {column.name: getattr(issuer, column.name) for column in _OWN if column.name != "issuer_id"}
    row |= {"issuer_id": issuer.id, "tenant_id": issuer.tenant.id, "algorithms": list(issuer.algorithms)}
    await tx.execute(insert(identity_issuers).values(row))


async def find_issuers(tx: Tx, issuer: str) -> list[Issuer]:
    """Return every tenant's active trust in an issuer, byte for byte, oldest first."""
    query = _ISSUERS.where(identity_issuers.c.issuer == issuer, identity_issuers.c.state == "active")
    query = query.order_by(identity_issuers.c.created_at, identity_issuers.c.issuer_id)
    return [_issuer(row) for row in await tx.execute(query)]


async def find_issuer(tx: Tx, issuer_id: UUID) -> Issuer | None:
    """Return the issuer with this id, of whatever tenant the transaction sees."""
    row = (await tx.execute(_ISSUERS.where(identity_issuers.c.issuer_id == issuer_id))).one_or_none()
    return None if row is None else _issuer(row)


async def get_issuer(tx: Tx, tenant_id: UUID, issuer_id: UUID, *, lock: bool = False) -> Issuer | None:
    """Return one issuer of a tenant; ``lock`` keeps others from changing it until the end of the transaction."""
    query = _ISSUERS.where(
        identity_issuers.c.tenant_id == tenant_id, identity_issuers.c.issuer_id == issuer_id
    )
    if lock:
        query = query.with_for_update(of=identity_issuers)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else _issuer(row)


async def list_issuers(
    tx: Tx, tenant_id: UUID, limit: int, after: tuple[datetime, UUID] | None
) -> list[Issuer]:
    """Return issuers of a tenant, newest first."""
    query = _ISSUERS.where(identity_issuers.c.tenant_id == tenant_id)
    if after is not None:
        query = query.where(
            func.row(identity_issuers.c.created_at, identity_issuers.c.issuer_id) < func.row(*after)
        )
    query = query.order_by(identity_issuers.c.created_at.desc(), identity_issuers.c.issuer_id.desc())
    return [_issuer(row) for row in await tx.execute(query.limit(limit))]


async def change_issuer(tx: Tx, issuer: Issuer, changes: dict[str, Any]) -> None:
    """Write changed columns of an issuer and count its version up."""
    await tx.execute(
        update(identity_issuers)
        .where(identity_issuers.c.tenant_id == issuer.tenant.id, identity_issuers.c.issuer_id == issuer.id)
        .values(version=identity_issuers.c.version + 1, **changes)
    )


async def delete_issuer(tx: Tx, tenant_id: UUID, issuer_id: UUID) -> None:
    """Remove an issuer."""
    await tx.execute(
        delete(identity_issuers).where(
            identity_issuers.c.tenant_id == tenant_id, identity_issuers.c.issuer_id == issuer_id
        )
    )
