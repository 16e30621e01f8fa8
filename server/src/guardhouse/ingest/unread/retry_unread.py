"""Read again what could not be read when it came, with the reader of today.

What is read leaves the quarantine in the transaction that stores it; items that still cannot be read go back there
with today's reason. Ids of items make it safe beside a client that has sent the same again meanwhile.
"""

from dataclasses import dataclass, replace
from typing import Final

from guardhouse.agents.projects.read import Project
from guardhouse.audit.record import Entry, record
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.resources import Resources
from guardhouse.identity.caller import Caller
from guardhouse.ingest.accept_app import MAX_ITEMS, MEMBERS, AppRequest, Kept, accept_app
from guardhouse.ingest.decode_lenient import Cut, salvage_items
from guardhouse.ingest.store import Owner
from guardhouse.ingest.tell_family import events_of
from guardhouse.ingest.unread import store
from guardhouse.ingest.unread.store import KeptUnread
from guardhouse.ingest.wire import AppAnswer

_MEMBERS: Final = {"event": "events", "metric": "metrics"}


@dataclass(frozen=True, slots=True)
class _Removal:
    """Takes one row out of quarantine and says who did."""

    owner: Owner
    caller: Caller
    unread: KeptUnread
    action: str

    async def __call__(self, tx: Tx) -> bool:
        """Do it; False when it is gone already."""
        if not await store.delete_unread(tx, self.owner, self.unread.no):
            return False
        before = {"kind": self.unread.kind, "code": self.unread.code, "bytes": self.unread.bytes}
        entry = Entry(f"quarantine.{self.action}", f"quarantine:{self.unread.no}", before=before)
        await record(tx, self.caller.actor, entry)
        return True


async def load_unread(tx: Tx, caller: Caller, project: Project, no: int) -> tuple[KeptUnread, bytes]:
    """Return one row of a project's quarantine with its bytes.

    Raises:
        NotFound: there is no such row.
    """
    found = await store.get_unread(tx, Owner(caller.tenant.no, project.no), no)
    if found is None:
        raise NotFound("There is no such item in quarantine.")
    return found


async def delete_unread(tx: Tx, caller: Caller, project: Project, no: int) -> None:
    """Delete one row for good.

    Raises:
        NotFound: there is no such row.
    """
    unread, _ = await load_unread(tx, caller, project, no)
    if not await _Removal(Owner(caller.tenant.no, project.no), caller, unread, "delete")(tx):
        raise NotFound("There is no such item in quarantine.")


async def retry_unread(
    resources: Resources, caller: Caller, project: Project, unread: KeptUnread, raw: bytes
) -> AppAnswer:
    """Store what can be read by now.

    Raises:
        Conflict: the project is archived, or no item of a body can be read.
        NotFound: somebody else took the row meanwhile.
    """
    if project.state != "active":
        raise Conflict("The project is archived.")
    if unread.kind == "body":
        cut = salvage_items(raw, MEMBERS, max_items=MAX_ITEMS)
        if not any(events_of(cut, name) for name in MEMBERS):
            raise Conflict("No item of the body can be read yet; it stays in quarantine.")
    else:
        cut = Cut(items={_MEMBERS[unread.kind]: [raw]})
    batch = AppRequest(
        caller=replace(caller, project_id=project.id),
        content=raw,
        cut=cut,
        project=None,
        sender=None,
        kept=Kept(unread.received_at, _Removal(Owner(caller.tenant.no, project.no), caller, unread, "retry")),
    )
    answer, _ = await accept_app(resources, batch)
    return answer
