"""Bind a key to a policy: its calls are judged by it unless they name another. A rotated key's heir stays bound."""

from datetime import datetime
from uuid import UUID

from guardhouse.detections.policies import store
from guardhouse.detections.policies.default_policy import ensure_default
from guardhouse.detections.policies.in_force import PolicyNotFound
from guardhouse.foundation.database import Tx
from guardhouse.identity.caller import Caller
from guardhouse.identity.change_key import change_key
from guardhouse.identity.store import ApiKey


async def bind_key(tx: Tx, caller: Caller, key: ApiKey, policy_id: UUID | None, now: datetime) -> ApiKey:
    """Bind a key, which the caller holds locked, to a policy of its own tenant; None binds it to ``default``.

    Raises:
        PolicyNotFound: the key's tenant has no such policy.
        Conflict: the key has ended.
    """
    await ensure_default(tx, key.tenant.id, now)
    if policy_id is not None and await store.get_policy(tx, key.tenant.id, policy_id) is None:
        raise PolicyNotFound
    return await change_key(tx, caller.actor, key, {"policy_id": policy_id}, now)
