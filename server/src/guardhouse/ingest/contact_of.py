"""What a batch tells of the process that sent it, beside its items: versions, remarks, verdicts, its own ledger."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from guardhouse.agents.instances.ledger import Received, read_ledger, read_seq
from guardhouse.agents.instances.note_contact import Contact
from guardhouse.agents.instances.sender import Sender, read_instance_id, version_of
from guardhouse.ingest.decode_body import decode_member
from guardhouse.ingest.decode_lenient import Cut, storable_text
from guardhouse.ingest.parse_telemetry import Parsed

MAX_VERSION: Final = 40
OUR_RULES: Final = "gh-"
_APPLIED: Final = "dynamic_rule_applied"


def contact_of(sender: Sender, installation: str, cut: Cut, parsed: Parsed, *, named: str | None) -> Contact:
    """Return the contact of one batch, its verdicts still to be counted.

    ``named``: the project as the header says it. A batch may be another process's, dead by now; the sender is its heir.
    """
    spoken_of, heir = sender.speaks_of(read_instance_id(decode_member(cut, "instance_id")))
    contact = Contact(
        installation=installation,
        instance_id=spoken_of,
        heir_id=heir,
        user_agent=sender.user_agent,
        agent_version=_version(cut, "agent_version") or version_of(sender.user_agent),
        guard_version=_version(cut, "guard_version"),
        guard_core_version=_version(cut, "guard_core_version"),
        batches=1,
        rules_applied=_applied(parsed),
        seq=read_seq(decode_member(cut, "seq")),
    )
    remarks = ["doubled_path"] if sender.doubled_path else []
    own_name = decode_member(cut, "project_id")
    if named is not None and isinstance(own_name, str) and own_name not in ("default", named):
        remarks.append("project_id_differs")
    if "ledger" in cut.members:
        contact.ledger = read_ledger(decode_member(cut, "ledger"))
        if contact.ledger is None:
            remarks.append("ledger_unreadable")
    contact.remarks = remarks
    return contact


def count_verdicts(contact: Contact, parsed: Parsed, *, events: int, metrics: int, rolled_up: int) -> None:
    """Count the verdicts of a batch of which so many events and metrics were stored; the rest were duplicates."""
    refused = sum(item.kind == "event" for item in parsed.rejected)
    known = len(parsed.events) - events - rolled_up
    contact.events = Received(events, rolled_up, known, refused)
    contact.metrics = Received(metrics, 0, len(parsed.metrics) - metrics, len(parsed.rejected) - refused)


def count_replay(contact: Contact, parsed: Parsed) -> None:
    """Count a batch that came before, unchanged: all of it are duplicates."""
    refused = sum(item.kind == "event" for item in parsed.rejected)
    contact.replays = 1
    contact.events = Received(duplicates=len(parsed.events) + refused)
    contact.metrics = Received(duplicates=len(parsed.metrics) + len(parsed.rejected) - refused)


def _version(cut: Cut, name: str) -> str | None:
    value = decode_member(cut, name)
    return storable_text(value)[:MAX_VERSION] if isinstance(value, str) and value else None


def _applied(parsed: Parsed) -> int | None:
    """Return the highest revision of our rules that the app says it applied."""
    found = [_revision(event.fields["metadata"]) for event in parsed.events if event.event_type == _APPLIED]
    return max((revision for revision in found if revision is not None), default=None)


def _revision(metadata: str | None) -> int | None:
    told: Any = None if metadata is None else msgspec.json.decode(metadata)
    if not isinstance(told, Mapping) or not str(told.get("rule_id")).startswith(OUR_RULES):
        return None
    return read_seq(told.get("version"))
