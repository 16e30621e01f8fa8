"""Every key of a tenant is revoked at once: what one does when a key leaked and nobody knows which."""

from uuid import UUID

from guardhouse.audit.record import Actor
from guardhouse.foundation.database import Tx
from guardhouse.identity import keys, store
from guardhouse.identity.store import ApiKey


async def revoke_all(tx: Tx, tenant_id: UUID, spared: UUID | None, *, revoked_by: Actor) -> list[ApiKey]:
    """Revoke the keys of a tenant but one and return those that were not revoked before; repeatable."""
    wanted = await store.lock_unrevoked_keys(tx, tenant_id)
    return [
        await keys.revoke_key(tx, tenant_id, key_id, revoked_by=revoked_by)
        for key_id in wanted
        if key_id != spared
    ]
