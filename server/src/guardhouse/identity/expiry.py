"""Keys that end soon are told once, a week ahead, so that whoever uses them can act."""

from datetime import datetime, timedelta
from typing import Final

from guardhouse.foundation.database import Tx
from guardhouse.identity import store
from guardhouse.notices.identity_kinds import KeyExpiring
from guardhouse.notices.publish import Draft, publish_all

AHEAD: Final = timedelta(days=7)
TOLD_AT_ONCE: Final = 500


async def tell_expiring(tx: Tx, now: datetime) -> int:
    """Publish the keys that end within a week and were not told yet; returns how many."""
    found = await store.take_expiring(tx, now, now + AHEAD, TOLD_AT_ONCE)
    drafts = [
        Draft(
            KeyExpiring(key_id=key.id, name=key.name, actor="system:clock", expires_at=key.expires_at),
            key.tenant.id,
            key.version,
        )
        for key in found
        if key.expires_at is not None
    ]
    await publish_all(tx, drafts)
    return len(found)
