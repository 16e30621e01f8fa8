"""A key that stood in a URL is told to its tenant: proxies and logs along the way may keep it."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation import peer
from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import Tx
from guardhouse.foundation.resources import Pepper
from guardhouse.identity import key_format, keys, store
from guardhouse.notices.identity_kinds import KeyExposed
from guardhouse.notices.publish import publish

AGAIN_AFTER: Final = timedelta(hours=1)


async def tell_exposed(tx: Tx, clock: Clock, peppers: Sequence[Pepper], text: str) -> bool:
    """Publish and record that a key was seen in a URL, at most once an hour; False when there is nothing to tell."""
    if not key_format.well_formed(text):
        return False
    key = await keys.find_key(tx, peppers, text)
    now = clock.now()
    if key is None or key.state_at(now) == "revoked":
        return False
    if key.exposed_at is not None and now - key.exposed_at < AGAIN_AFTER:
        return False
    version = await store.change_key(tx, key, {"exposed_at": now})
    who = peer.current().address or "unknown"
    said = KeyExposed(key_id=key.id, name=key.name, actor=who, place="url")
    await publish(tx, said, tenant_id=key.tenant.id, subject_seq=version)
    await record(tx, Actor(key.tenant.id, "system:http"), Entry("key.exposed", f"key:{key.id}"))
    return True
