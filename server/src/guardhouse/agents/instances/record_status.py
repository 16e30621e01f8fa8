"""Record what a process says of itself: which one it is, how it is doing, and its own count of what it captured."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from guardhouse.agents.instances import store
from guardhouse.agents.instances.fold import Heard, fold, note_remark
from guardhouse.agents.instances.ledger import Ledger
from guardhouse.agents.instances.match_start import Candidate, match_start
from guardhouse.agents.instances.note_contact import Contact
from guardhouse.agents.instances.sender import Sender
from guardhouse.agents.instances.settle import settle
from guardhouse.agents.instances.state import add_gap
from guardhouse.agents.instances.store import Instance, Place, Report
from guardhouse.foundation.database import Tx

SKEW: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Status:
    """One status as read. ``reported_at`` and ``started_at`` are by the client's clock, None when not readable.

    ``report`` is kept as it is shown; ``process`` is what stays true until the process says otherwise.
    """

    reported_at: datetime | None = None
    started_at: datetime | None = None
    health: str | None = None
    buffered: int = 0
    instance_id: UUID | None = None
    seq: int | None = None
    ledger: Ledger | None = None
    ended: bool = False
    process: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


async def record_status(
    tx: Tx, place: Place, sender: Sender, installation: str, status: Status
) -> Instance | None:
    """Record a status and return its instance; None when the project has as many instances as it may."""
    await fold(tx, place)  # takes the project's lock too
    contact = _contact(sender, installation, status)
    heard = await Heard.load(tx, place, [contact])
    if contact.instance_id is None and status.started_at is not None and status.reported_at is not None:
        _choose(heard, installation, status.started_at, status.reported_at)
    instance = heard.take_in(contact, place.at)
    if instance is None:
        return None
    again = status.reported_at is not None and status.reported_at == instance.reported_at
    _take_in(instance, status, place.at, again=again, by_heir=contact.heir_id is not None)
    await settle(tx, place, heard.changed)
    if not again:
        await store.add_report(tx, place.tenant.no, instance.no, Report(place.at, status.report))
    return instance


def _contact(sender: Sender, installation: str, status: Status) -> Contact:
    spoken_of, heir = sender.speaks_of(status.instance_id)
    return Contact(
        installation=installation,
        instance_id=spoken_of,
        heir_id=heir,
        user_agent=sender.user_agent,
        remarks=[*status.remarks, *(["doubled_path"] if sender.doubled_path else [])],
        seq=status.seq,
        ledger=status.ledger,
    )


def _choose(heard: Heard, installation: str, started_at: datetime, reported_at: datetime) -> None:
    """Put the process that started then in front of its installation's, made if it is a new one."""
    known = heard.unnamed.get(installation, [])
    found = match_start(
        (Candidate(place, i.started_at, i.reported_at) for place, i in enumerate(known)),
        started_at,
        reported_at,
    )
    chosen = known[found.no] if found is not None else heard.make(installation, None, heard.place.at)
    if chosen is not None:
        heard.unnamed[installation] = [chosen, *(other for other in known if other is not chosen)]


def _take_in(instance: Instance, status: Status, now: datetime, *, again: bool, by_heir: bool) -> None:
    if by_heir:
        return  # an heir knows what was left, not how the dead one was
    if not again:
        if instance.last_report_at is not None:
            instance.gaps = add_gap(instance.gaps, now - instance.last_report_at)
        instance.last_report_at = now
    if status.reported_at is not None:
        instance.reported_at = status.reported_at
        if abs(status.reported_at - now) > SKEW:
            note_remark(instance, "clock_skew", now)
    if status.started_at is not None and (instance.started_at is None or instance.named):
        instance.started_at = status.started_at
    instance.health, instance.buffered = status.health, status.buffered
    instance.process = instance.process | status.process
    if status.ended:
        instance.closed = "ended"
