"""Which keys a caller reaches: those of its tenant and of the tenant's test twin, or only the one it bears.

A key out of reach looks exactly like no key at all.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import NotFound
from guardhouse.identity import store
from guardhouse.identity.caller import Caller
from guardhouse.identity.store import ApiKey


def own_key(caller: Caller) -> UUID | None:
    """Return the id of the key that the caller bears; None for a caller that came by other means."""
    return UUID(caller.credential_id) if caller.kind == "key" else None


@asynccontextmanager
async def key(
    tx: Tx, caller: Caller, key_id: UUID, scope: str, *, lock: bool = False
) -> AsyncIterator[ApiKey]:
    """Yield a key with the transaction inside its tenant; without ``scope`` the caller reaches itself only.

    Raises:
        NotFound: there is no such key, or not for this caller.
    """
    if scope not in caller.scopes and key_id != own_key(caller):
        raise NotFound("There is no such key.")
    found = await store.get_key(tx, caller.tenant.id, key_id, lock=lock)
    if found is not None:
        yield found
        return
    twin = await store.find_twin(tx, caller.tenant.id)
    if twin is None:
        raise NotFound("There is no such key.")
    async with tx.inside(twin.key):
        found = await store.get_key(tx, twin.id, key_id, lock=lock)
        if found is None:
            raise NotFound("There is no such key.")
        yield found


@asynccontextmanager
async def tenant_of_env(tx: Tx, caller: Caller, env: str | None) -> AsyncIterator[TenantKey | None]:
    """Yield the tenant in which the caller's keys of one env are, with the transaction inside it; None: nowhere."""
    if env in {None, caller.env}:
        yield caller.tenant
        return
    twin = await store.find_twin(tx, caller.tenant.id) if env == "test" else None
    if twin is None:
        yield None
        return
    async with tx.inside(twin.key):
        yield twin.key
