"""A key's name, limits, networks and state are changed, and its scopes taken away; it never gains a scope."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict
from guardhouse.identity import keys, store
from guardhouse.identity.keys import ScopeEscalation
from guardhouse.identity.store import ApiKey


async def change_key(tx: Tx, actor: Actor, key: ApiKey, changes: Mapping[str, Any], now: datetime) -> ApiKey:
    """Change members of ``key``, which the caller holds locked; what is as it was costs no version.

    Raises:
        Conflict: the key has ended: it was revoked, replaced, or has expired.
        ScopeEscalation: a scope that the key does not have.
    """
    state = key.state_at(now)
    if state in {"revoked", "expired"}:
        raise Conflict(f"The key is {state} and stays so.")
    gained = set(changes.get("scopes", ())) - set(key.scopes)
    if gained:
        raise ScopeEscalation(
            f"The key does not have {', '.join(sorted(gained))}; scopes are only taken away."
        )
    wanted = {name: value for name, value in changes.items() if getattr(key, name) != value}
    if not wanted:
        return key
    version = await store.change_key(tx, key, wanted)
    await store.notify_change(tx)
    changed = replace(key, **wanted, version=version)
    before, after = keys.described(key), keys.described(changed)
    entry = Entry(
        "key.update",
        f"key:{key.id}",
        {name: before[name] for name in wanted},
        {name: after[name] for name in wanted},
    )
    await record(tx, keys.actor_in(key.tenant.id, actor), entry)
    return changed
