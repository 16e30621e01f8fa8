"""A key is replaced by another of the same rights; the old one works on for a grace."""

from dataclasses import replace
from datetime import datetime, timedelta

from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Resources
from guardhouse.identity import key_format, keys, store
from guardhouse.identity.store import ApiKey
from guardhouse.notices.identity_kinds import KeyRotated
from guardhouse.notices.publish import publish


async def rotate_key(
    tx: Tx, resources: Resources, actor: Actor, key: ApiKey, *, grace_seconds: int, renew: bool
) -> tuple[ApiKey, str]:
    """Return the key that takes the place of ``key``, which the caller holds locked, and its text.

    ``renew``: the new key lives as long as the old one was made for, from now; otherwise it ends when the old
    one would have. Without a grace the old key ends at once.

    Raises:
        Conflict: the key does not work any more, or has been replaced before.
    """
    now = resources.clock.now()
    state = key.state_at(now)
    if state != "active":
        raise Conflict(f"The key is {state}; only an active key is rotated.")
    text = key_format.new_key(key.env)
    fresh = replace(
        key,
        id=new_id(),
        prefix=text[: key_format.PREFIX_LENGTH],
        last4=text[-4:],
        expires_at=now + (key.expires_at - key.created_at) if renew and key.expires_at else key.expires_at,
        created_at=now,
        created_by=actor.name,
        version=1,
        last_used_at=None,
        last_used_ip=None,
        exposed_at=None,
    )
    await keys.add_key(tx, fresh, text, resources.peppers[0])
    await _end_old(tx, actor, key, fresh, now + timedelta(seconds=grace_seconds))
    return fresh, text


async def _end_old(tx: Tx, actor: Actor, key: ApiKey, fresh: ApiKey, until: datetime) -> None:
    version = await store.change_key(tx, key, {"rotates_until": until, "replaced_by": fresh.id})
    await store.notify_change(tx)
    said = KeyRotated(
        key_id=key.id, name=key.name, actor=actor.name, replaced_by=fresh.id, rotates_until=until
    )
    await publish(tx, said, tenant_id=key.tenant.id, subject_seq=version)
    after = {"replaced_by": fresh.id, "rotates_until": until}
    await record(tx, keys.actor_in(key.tenant.id, actor), Entry("key.rotate", f"key:{key.id}", after=after))
