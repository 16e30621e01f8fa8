"""Shapes of tenants on the wire."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination
from guardhouse.identity.store import Tenant

TenantState = Literal["active", "suspended", "closed"]


class TenantRequest(BaseModel):
    """What `POST /admin/tenants` takes."""

    model_config = ConfigDict(extra="forbid")

    slug: Annotated[
        str,
        Field(
            min_length=1,
            max_length=63,
            pattern=r"^[a-z0-9][a-z0-9-]*$",
            description="Short name, for good.",
            examples=["acme"],
        ),
    ]
    name: Annotated[str, Field(min_length=1, max_length=200, examples=["Acme Ltd"])]


class TenantReason(BaseModel):
    """Why a tenant's state changes; kept in the audit log."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=500, examples=["invoice unpaid"])] | None = None


class TenantQuery(BaseModel):
    """Filters of `GET /admin/tenants`."""

    state: TenantState | None = None


class TenantShape(BaseModel):
    """One tenant."""

    id: UUID
    slug: str
    name: str
    state: str
    created_at: str


class TenantList(BaseModel):
    """One page of tenants."""

    data: list[TenantShape]
    pagination: Pagination


def tenant_shape(tenant: Tenant) -> TenantShape:
    """Return the public form of a tenant."""
    return TenantShape(
        id=tenant.id,
        slug=tenant.slug,
        name=tenant.name,
        state=tenant.state,
        created_at=rfc3339(tenant.created_at),
    )
