"""Make, change and take out lists; each change stands in the audit log, without the texts."""

from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from guardhouse.audit.record import Entry as AuditEntry
from guardhouse.audit.record import record
from guardhouse.detections.lists import store
from guardhouse.detections.lists.entry import Entry, check_entries
from guardhouse.detections.lists.store import StoredList
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.ids import new_id
from guardhouse.identity.caller import Caller

MAX_LISTS: Final = 100


async def create_list(
    tx: Tx, caller: Caller, name: str, kind: str, entries: tuple[Entry, ...], now: datetime
) -> StoredList:
    """Make a list.

    Raises:
        ListEntryInvalid: entries that cannot be used.
        Conflict: the name is taken, or the tenant has as many lists as it may have.
    """
    check_entries(kind, entries)
    made = StoredList(new_id(), name, kind, 1, entries, now, caller.actor.name, now)
    if len(await store.list_lists(tx, caller.tenant.id, MAX_LISTS)) >= MAX_LISTS:
        raise Conflict(f"A tenant has at most {MAX_LISTS} lists.", limit=MAX_LISTS)
    if not await store.add_list(tx, caller.tenant.id, made):
        raise _taken(name)
    await record(tx, caller.actor, AuditEntry("list.create", f"list:{made.id}", after=_told(made)))
    return made


async def reach_list(tx: Tx, caller: Caller, list_id: UUID, *, lock: bool = False) -> StoredList:
    """Return a list.

    Raises:
        NotFound: the tenant has none of this id.
    """
    found = await store.get_list(tx, caller.tenant.id, list_id, lock=lock)
    if found is None:
        raise NotFound("There is no such list.")
    return found


async def change_list(
    tx: Tx, caller: Caller, known: StoredList, wanted: StoredList, now: datetime
) -> StoredList:
    """Change name or entries of a list, held locked; it is in force within a second.

    Raises:
        ListEntryInvalid: entries that cannot be used.
        Conflict: the name is taken.
    """
    if wanted == known:
        return known
    check_entries(wanted.kind, wanted.entries)
    changed = replace(wanted, version=known.version + 1, changed_at=now)
    if not await store.change_list(tx, caller.tenant.id, changed):
        raise _taken(wanted.name)
    entry = AuditEntry("list.change", f"list:{known.id}", before=_told(known), after=_told(changed))
    await record(tx, caller.actor, entry)
    return changed


async def delete_list(tx: Tx, caller: Caller, known: StoredList) -> None:
    """Take a list out.

    Raises:
        Conflict: policies still name it.
    """
    used = await store.used_by(tx, caller.tenant.id, known.id)
    if used:
        raise Conflict(f"Policies name this list: {', '.join(used[:10])}.", policies=used)
    await store.delete_list(tx, caller.tenant.id, known.id)
    await record(tx, caller.actor, AuditEntry("list.delete", f"list:{known.id}", before=_told(known)))


def _told(stored: StoredList) -> dict[str, Any]:
    return {
        "name": stored.name,
        "kind": stored.kind,
        "version": stored.version,
        "entries": [entry.name for entry in stored.entries],
    }


def _taken(name: str) -> Conflict:
    return Conflict(f"There is a list named {name} already.")
