"""The policy named ``default``: every tenant and every test twin has it, made when it is first looked for."""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from guardhouse.detections.policies import store
from guardhouse.detections.policies.store import StoredPolicy
from guardhouse.detections.policy import DEFAULT
from guardhouse.foundation.database import Tx
from guardhouse.foundation.ids import new_id

DEFAULT_NAME: Final = DEFAULT.name
_BY: Final = "system:default"


async def ensure_default(tx: Tx, tenant_id: UUID, now: datetime) -> None:
    """Make the tenant's default policy if there is none yet; of two who try, one makes it."""
    if await store.has_policy(tx, tenant_id, DEFAULT_NAME):
        return
    policy = msgspec.structs.replace(DEFAULT, id=new_id())
    await store.add_policy(tx, tenant_id, StoredPolicy(policy, now, _BY, now, _BY))
