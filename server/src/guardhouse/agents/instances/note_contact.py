"""Note that a process was heard: one row more, in one message with COMMIT, so that no batch waits for another.

The rows are a queue; ``fold`` takes them into the instances. What is counted is exact, because it commits with
the items that it counts.
"""

from uuid import UUID

import msgspec

from guardhouse.agents.instances import store
from guardhouse.agents.instances.ledger import Ledger, Received
from guardhouse.agents.instances.store import Place
from guardhouse.foundation.database import Tx

_encoder = msgspec.json.Encoder()
_decoder: "msgspec.json.Decoder[Contact]"


class Contact(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What one request tells of the process behind it.

    ``instance_id`` is the process whose items came, ``heir_id`` the one that sent them for it after its death.
    ``rules_served`` and ``rules_applied`` are revisions; ``seq`` and ``ledger`` are the client's own count.
    """

    installation: str
    instance_id: UUID | None = None
    heir_id: UUID | None = None
    user_agent: str = ""
    agent_version: str | None = None
    guard_version: str | None = None
    guard_core_version: str | None = None
    remarks: list[str] = []
    signature_form: str | None = None
    encryption: str | None = None
    rules_served: int | None = None
    rules_applied: int | None = None
    batches: int = 0
    replays: int = 0
    events: Received = Received()
    metrics: Received = Received()
    seq: int | None = None
    ledger: Ledger | None = None


_decoder = msgspec.json.Decoder(Contact)


def note_contact(tx: Tx, place: Place, contact: Contact) -> None:
    """Write a contact with the commit of this transaction."""
    store.add_contact(tx, place, _encoder.encode(contact).decode())


def read_contact(text: str) -> Contact:
    """Return a contact as it was noted."""
    return _decoder.decode(text)
