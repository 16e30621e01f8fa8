"""Which of the strings that have a canary's form are canaries of the tenant."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Final

from guardhouse.detections.canaries import store
from guardhouse.detections.canaries.store import Canary
from guardhouse.detections.tenant_keys import canary_keys
from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.request import tenant_transaction
from guardhouse.foundation.resources import Resources

NOT_LOOKED_UP: Final = "canaries_not_looked_up"


async def recognise(resources: Resources, tenant: TenantKey, digests: Iterable[str]) -> Mapping[str, Canary]:
    """Return the canaries among digests of tokens (``token_digest``), as they are now; without digests asks nobody.

    The database compares keyed digests only, so how long it takes says nothing of a token.

    Raises:
        DatabaseAway: the database cannot be asked.
    """
    by_keyed = {
        keyed(key, digest): digest
        for digest in set(digests)
        for key in canary_keys(resources, tenant.id).values()
    }
    if not by_keyed:
        return {}
    async with tenant_transaction(resources, tenant) as tx:
        found = await store.find_canaries(tx, tenant.id, list(by_keyed), resources.clock.now())
    return {by_keyed[canary.digest]: canary for canary in found}


def keyed(key: bytes, digest: str) -> bytes:
    """Return what is stored of a token."""
    return hmac.digest(key, digest.encode(), hashlib.sha256)
