"""Who is at the door while one batch is taken: a process that is heard with it, or nobody when it was kept before."""

from dataclasses import dataclass

from guardhouse.agents.instances.note_contact import Contact, note_contact
from guardhouse.agents.instances.store import Place
from guardhouse.foundation.database import Tx
from guardhouse.ingest.contact_of import count_replay, count_verdicts
from guardhouse.ingest.parse_telemetry import Parsed


@dataclass(frozen=True, slots=True)
class Visit:
    """The sender of one batch. ``contact`` is None when nobody is there, ``installation`` when it is not known."""

    place: Place
    installation: str | None
    contact: Contact | None

    def remark(self, name: str) -> None:
        """Say something about the sender."""
        if self.contact is not None:
            self.contact.remarks.append(name)

    def note_replay(self, tx: Tx, parsed: Parsed) -> None:
        """Note that the sender was heard with a batch that came before, unchanged."""
        if self.contact is not None:
            count_replay(self.contact, parsed)
            note_contact(tx, self.place, self.contact)

    def note(self, tx: Tx, parsed: Parsed, *, events: int, metrics: int, rolled_up: int) -> None:
        """Note that the sender was heard with a batch of which so many events and metrics were stored."""
        if self.contact is not None:
            count_verdicts(self.contact, parsed, events=events, metrics=metrics, rolled_up=rolled_up)
            note_contact(tx, self.place, self.contact)
