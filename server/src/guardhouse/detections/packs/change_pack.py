"""Take a rule pack, or take one out; each stands in the audit log."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from guardhouse.audit.record import Entry, record
from guardhouse.detections.packs import store
from guardhouse.detections.packs.check_pack import check_pack
from guardhouse.detections.packs.store import StoredPack
from guardhouse.detections.policy import CORE
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.identity.caller import Caller

MAX_PACKS: Final = 50


async def add_pack(
    tx: Tx, caller: Caller, name: str, rules: Sequence[Mapping[str, Any]], now: datetime
) -> StoredPack:
    """Take a pack as the next version of its name.

    Raises:
        Conflict: the name is that of the pack that ships, or the tenant has as many packs as it may have.
        Problem: as ``check_pack``.
    """
    if name == CORE:
        raise Conflict("The pack that ships with the engine has this name.")
    await store.hold(tx, caller.tenant.id)
    newest = {pack.name: pack.version for pack in await store.list_packs(tx, caller.tenant.id)}
    if name not in newest and len(newest) >= MAX_PACKS:
        raise Conflict(f"A tenant has at most {MAX_PACKS} rule packs.", limit=MAX_PACKS)
    version = newest.get(name, 0) + 1
    kept = await asyncio.to_thread(check_pack, rules, version)
    made = StoredPack(name, version, kept, now, caller.actor.name)
    await store.add_pack(tx, caller.tenant.id, made)
    await record(
        tx, caller.actor, Entry("rule_pack.add", f"rule_pack:{made.full_name}", after={"rules": len(kept)})
    )
    return made


async def delete_pack(tx: Tx, caller: Caller, name: str) -> None:
    """Take every version of a pack out.

    Raises:
        NotFound: there is none of this name.
        Conflict: policies still name it.
    """
    await store.hold(tx, caller.tenant.id)
    if not await store.list_versions(tx, caller.tenant.id, name, 1):
        raise NotFound("There is no such rule pack.")
    used = await store.used_by(tx, caller.tenant.id, name)
    if used:
        raise Conflict(f"Policies name this pack: {', '.join(used[:10])}.", policies=used)
    await store.delete_pack(tx, caller.tenant.id, name)
    await record(tx, caller.actor, Entry("rule_pack.delete", f"rule_pack:{name}"))
