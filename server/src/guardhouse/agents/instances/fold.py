"""Take noted contacts into the instances they are from; the first contact of a process makes its instance."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final
from uuid import UUID

from guardhouse.agents.instances import queries, store
from guardhouse.agents.instances.ledger import Ledger, is_backwards
from guardhouse.agents.instances.note_contact import Contact, read_contact
from guardhouse.agents.instances.settle import settle
from guardhouse.agents.instances.store import Instance, Place
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import Tx
from guardhouse.foundation.ids import new_id

AT_ONCE: Final = 2_000
MAX_INSTANCES: Final = 10_000
"""Per project, archived ones aside. Whoever makes up more names than that gets no more instances."""

_SAID: Final = (
    "user_agent", "agent_version", "guard_version", "guard_core_version", "signature_form", "encryption",
)  # fmt: skip


async def fold(tx: Tx, place: Place) -> bool:
    """Take the oldest contacts of a project in, and hold its lock; tells whether more may be waiting."""
    await store.lock_instances(tx, place.project_no)
    noted = [
        (at, read_contact(data)) for at, data in await store.take_contacts(tx, place.project_no, AT_ONCE)
    ]
    if not noted:
        return False
    heard = await Heard.load(tx, place, (contact for _, contact in noted))
    for at, contact in noted:
        heard.take_in(contact, at)
    await settle(tx, place, heard.changed)
    return len(noted) == AT_ONCE


class Heard:
    """The instances that some contacts are from, as far as they are known."""

    def __init__(self, place: Place, room: int) -> None:
        self.place = place
        self.room = room
        self.named: dict[UUID, Instance] = {}
        self.elsewhere: set[UUID] = set()
        self.unnamed: dict[str, list[Instance]] = {}
        self._changed: dict[UUID, Instance] = {}

    @classmethod
    async def load(cls, tx: Tx, place: Place, contacts: Iterable[Contact]) -> "Heard":
        """Read what is known of the processes behind some contacts; the caller holds the project's lock."""
        ids: set[UUID] = set()
        installations: set[str] = set()
        for contact in contacts:
            ids.update(said for said in (contact.instance_id, contact.heir_id) if said is not None)
            if contact.instance_id is None:
                installations.add(contact.installation)
        heard = cls(place, MAX_INSTANCES - await queries.count_instances(tx, place.project_no))
        for instance_id, (project_no, instance) in (await store.find_named(tx, place.tenant.no, ids)).items():
            if project_no == place.project_no:
                heard.named[instance_id] = instance
            else:
                heard.elsewhere.add(instance_id)
        for instance in await store.list_unnamed(tx, place.project_no, installations):
            heard.unnamed.setdefault(instance.installation, []).append(instance)
        return heard

    @property
    def changed(self) -> list[Instance]:
        """What contacts have changed, in the order of their numbers, new ones last."""
        return sorted(self._changed.values(), key=lambda instance: (instance.no == 0, instance.no))

    def take_in(self, contact: Contact, at: datetime) -> Instance | None:
        """Take one contact in and return the instance it is from; None when there may be no more, or it is not ours."""
        instance = self._instance_of(contact, at)
        if instance is None:
            return None
        self._changed[instance.id] = instance
        if contact.heir_id is None:
            hear(instance, at)
        else:
            instance.closed, instance.heir_id = "unclean", contact.heir_id
            heir = self._instance_of(
                Contact(installation=contact.installation, instance_id=contact.heir_id), at
            )
            if heir is not None:
                self._changed[heir.id] = heir
                hear(heir, at)
                heir.user_agent = contact.user_agent or heir.user_agent
        _describe(instance, contact, at)
        _count(instance, contact, at)
        return instance

    def make(self, installation: str, instance_id: UUID | None, at: datetime) -> Instance | None:
        """Return a new instance; None when the project has as many as it may."""
        if self.room <= 0:
            return None
        self.room -= 1
        made = Instance(
            id=instance_id or new_id(),
            named=instance_id is not None,
            installation=installation,
            first_seen_at=at,
            last_seen_at=at,
        )
        if made.named:
            self.named[made.id] = made
        else:
            self.unnamed.setdefault(installation, []).append(made)
        self._changed[made.id] = made
        return made

    def _instance_of(self, contact: Contact, at: datetime) -> Instance | None:
        """Return the process: the one named, else the one of its installation that reported last."""
        if contact.instance_id is not None:
            if contact.instance_id in self.elsewhere:
                return None
            known = self.named.get(contact.instance_id)
        else:
            known = next(iter(self.unnamed.get(contact.installation, ())), None)
        return known or self.make(contact.installation, contact.instance_id, at)


def hear(instance: Instance, at: datetime) -> None:
    """Note that a process was alive; if nothing later is known of it, it is not over, whatever was said before."""
    if at < instance.last_seen_at:
        return  # what came long ago and is counted now: a sealed envelope that was opened at last
    instance.last_seen_at = at
    instance.closed = instance.heir_id = instance.archived_at = None


def note_remark(instance: Instance, remark: str, at: datetime) -> None:
    """Note something that whoever runs the process should know."""
    instance.remarks = instance.remarks | {remark: rfc3339(at)}


def take_ledger(instance: Instance, seq: int | None, ledger: Ledger | None, at: datetime) -> None:
    """Keep the ledger of a process if it is the newest: the one with the highest number."""
    if ledger is None or seq is None or (instance.seq is not None and seq <= instance.seq):
        return
    if instance.ledger is not None and is_backwards(ledger, instance.ledger):
        note_remark(instance, "ledger_backwards", at)
    instance.seq, instance.ledger, instance.ledger_at = seq, ledger, at


def _describe(instance: Instance, contact: Contact, at: datetime) -> None:
    for name in _SAID:
        said = getattr(contact, name)
        # An heir speaks for itself: of the dead one it only says what nobody has said before.
        if said and (contact.heir_id is None or not getattr(instance, name)):
            setattr(instance, name, said)
    for remark in contact.remarks:
        note_remark(instance, remark, at)
    if contact.rules_served is not None:
        instance.rules_served, instance.rules_served_at = contact.rules_served, at
    if contact.rules_applied is not None and contact.rules_applied >= (instance.rules_applied or 0):
        instance.rules_applied, instance.rules_applied_at = contact.rules_applied, at


def _count(instance: Instance, contact: Contact, at: datetime) -> None:
    instance.batches += contact.batches
    instance.replays += contact.replays
    instance.events += contact.events
    instance.metrics += contact.metrics
    take_ledger(instance, contact.seq, contact.ledger, at)
