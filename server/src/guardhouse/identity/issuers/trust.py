"""Which external issuers a tenant trusts: made, changed and ended; the client secret is sealed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.seal import MasterKey
from guardhouse.identity import store as identity_store
from guardhouse.identity.issuers import store
from guardhouse.identity.issuers.store import Issuer
from guardhouse.identity.store import Tenant

MAX_ISSUERS: Final = 20


@dataclass(frozen=True, slots=True)
class NewIssuer:
    """What to trust; ``client_secret`` is sealed at once."""

    name: str
    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    client_id: str | None
    client_secret: str | None
    sign_in_scope: str
    role_claim: str
    role_map: dict[str, str]
    scope_claim: str | None
    scope_map: dict[str, list[str]]
    tenant_claim: str | None
    tenant_value: str | None


async def create_issuer(
    tx: Tx, clock: Clock, master_key: MasterKey, tenant: Tenant, wanted: NewIssuer, *, created_by: str
) -> Issuer:
    """Trust an issuer from now on.

    Raises:
        Conflict: the tenant trusts too many already.
    """
    if len(await store.list_issuers(tx, tenant.id, MAX_ISSUERS, None)) >= MAX_ISSUERS:
        raise Conflict(f"A tenant trusts {MAX_ISSUERS} issuers at most.")
    issuer_id = new_id()
    issuer = Issuer(
        id=issuer_id,
        tenant=tenant,
        name=wanted.name,
        issuer=wanted.issuer,
        audience=wanted.audience,
        algorithms=wanted.algorithms,
        client_id=wanted.client_id,
        sealed_secret=seal_secret(master_key, issuer_id, wanted.client_secret),
        sign_in_scope=wanted.sign_in_scope,
        role_claim=wanted.role_claim,
        role_map=wanted.role_map,
        scope_claim=wanted.scope_claim,
        scope_map=wanted.scope_map,
        tenant_claim=wanted.tenant_claim,
        tenant_value=wanted.tenant_value,
        state="active",
        version=1,
        created_at=clock.now(),
        created_by=created_by,
    )
    await store.add_issuer(tx, issuer)
    await identity_store.notify_change(tx)
    return issuer


async def get_issuer(tx: Tx, tenant_id: UUID, issuer_id: UUID, *, lock: bool = False) -> Issuer:
    """Return one issuer of a tenant.

    Raises:
        NotFound: the tenant trusts no such issuer.
    """
    issuer = await store.get_issuer(tx, tenant_id, issuer_id, lock=lock)
    if issuer is None:
        raise NotFound("There is no such issuer.")
    return issuer


async def list_issuers(
    tx: Tx, tenant_id: UUID, limit: int, after: tuple[datetime, UUID] | None = None
) -> list[Issuer]:
    """Return issuers of a tenant, newest first."""
    return await store.list_issuers(tx, tenant_id, limit, after)


async def change_issuer(tx: Tx, issuer: Issuer, changes: Mapping[str, Any]) -> Issuer:
    """Change an issuer by its stored members; holds for living tokens within a second."""
    if not changes:
        return issuer
    stored = {name: list(value) if name == "algorithms" else value for name, value in changes.items()}
    await store.change_issuer(tx, issuer, stored)
    await identity_store.notify_change(tx)
    return replace(issuer, **changes, version=issuer.version + 1)


async def delete_issuer(tx: Tx, issuer: Issuer) -> None:
    """Trust an issuer no more, within a second."""
    await store.delete_issuer(tx, issuer.tenant.id, issuer.id)
    await identity_store.notify_change(tx)


def seal_secret(master_key: MasterKey, issuer_id: UUID, secret: str | None) -> bytes | None:
    """Return a client secret as it is stored."""
    return None if secret is None else master_key.seal(secret.encode(), _purpose(issuer_id))


def open_secret(master_key: MasterKey, issuer: Issuer) -> str | None:
    """Return the client secret of an issuer; None: a public client.

    Raises:
        CannotOpen: it was sealed under a master key that is not here.
    """
    sealed = issuer.sealed_secret
    return None if sealed is None else master_key.open(sealed, _purpose(issuer.id)).decode()


def _purpose(issuer_id: UUID) -> str:
    return f"issuer secret {issuer_id}"
