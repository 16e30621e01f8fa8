"""A batch of an in-app agent: every item stored once, rolled up, or kept in quarantine, in one transaction.

The answer 200 means committed. A kill at any point leaves all of a batch or nothing, and the client's retry
is deduplicated: the whole batch by its receipt, single items by their ids.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any, Final
from uuid import UUID

import msgspec
from asyncpg import DeadlockDetectedError

from guardhouse.agents.instances.note_contact import Contact, note_contact
from guardhouse.agents.instances.sender import Sender
from guardhouse.agents.instances.store import Place
from guardhouse.agents.projects.secrets.issue_secret import note_use
from guardhouse.agents.projects.secrets.open_envelope import EnvelopeMalformed
from guardhouse.agents.projects.secrets.verify_payload import Verified
from guardhouse.agents.resolve_project import Project, note_skew, resolve_project
from guardhouse.events import partitions
from guardhouse.events.identify import identifier
from guardhouse.events.ips.note_activity import note_activity
from guardhouse.events.ips.tell_alerts import alerts_of
from guardhouse.events.write_app import EVENTS, METRICS, AppOwner, NewRow, Noise, write_noise, write_rows
from guardhouse.events.write_process import AlreadyStored, DayMissing
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound, Unavailable
from guardhouse.foundation.idempotency import IdempotencyKeyReused
from guardhouse.foundation.request import system_transaction, tenant_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.identity.caller import Caller
from guardhouse.ingest import quarantine, store
from guardhouse.ingest.check_payload import UNCHECKED, insist, is_enough
from guardhouse.ingest.contact_of import contact_of
from guardhouse.ingest.counters import ACCEPTED, BATCH_SIZE, DUPLICATES, REJECTED
from guardhouse.ingest.decode_body import decode_member
from guardhouse.ingest.decode_lenient import Cut, MalformedBody, storable_text
from guardhouse.ingest.parse_telemetry import (
    ANY_KIND,
    PAST,
    AppEvent,
    AppMetric,
    Parsed,
    Parser,
    fingerprint,
    stands_for,
)
from guardhouse.ingest.quota import Meter
from guardhouse.ingest.store import Owner, Receipt
from guardhouse.ingest.telemetry_fields import Remark, milliseconds
from guardhouse.ingest.tell_family import events_of
from guardhouse.ingest.visit import Visit
from guardhouse.ingest.wire import AppAnswer, Rejection
from guardhouse.notices.agent_kinds import TelemetryReceived
from guardhouse.notices.publish import Draft, Origin, publish_all

MEMBERS: Final = ("events", "metrics")
MAX_ITEMS: Final = 50_000
MAX_BATCH_ID: Final = 128
LISTED_REJECTIONS: Final = 100
SKEW_REMEMBERED: Final = timedelta(days=15)
ATTEMPTS: Final = 5
_PARSED_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Kept:
    """What was kept when it came, and is taken now. ``take_back`` deletes it from there; False: it is gone."""

    received_at: datetime
    take_back: Callable[[Tx], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class AppRequest:
    """An app batch as it came. ``project`` and ``sender`` are what the headers say; None: it is not known any more.

    ``kept``: it came earlier, and was held against the demands of its project then. ``meter`` counts its items.
    """

    caller: Caller
    content: bytes
    cut: Cut
    project: str | None
    sender: Sender | None
    idempotency_key: str | None = None
    verified: Verified = UNCHECKED
    kept: Kept | None = None
    meter: Meter | None = None


@dataclass(slots=True)
class _Sorted:
    """Rows of one batch by what must happen to them, keyed by the id that every copy of the item has."""

    events: dict[bytes, NewRow] = field(default_factory=dict)
    metrics: dict[bytes, NewRow] = field(default_factory=dict)
    noise: dict[bytes, Noise] = field(default_factory=dict)
    unsure: list[bytes] = field(default_factory=list)
    """Items that no row's own id protects: noise, and those without a usable time."""
    skewed: bool = False


async def accept_app(resources: Resources, request: AppRequest) -> tuple[AppAnswer, bool]:
    """Store one batch; returns the answer, and whether it replays an earlier one.

    Raises:
        Problem: the project is refused, or insists on more than the batch shows; the key was used for other bytes;
            a kept batch is gone; or the database is away. Nothing is stored then.
    """
    now = resources.clock.now() if request.kept is None else request.kept.received_at
    parsed = await _parse(resources, request.cut, now)
    batch_id = batch_id_of(request.cut)
    receipt = Receipt(
        batch_id=batch_id or "",
        content_sha256=hashlib.sha256(request.content).digest(),
        idempotency_key=request.idempotency_key,
        items=len(parsed.events) + len(parsed.metrics) + len(parsed.rejected),
    )
    if request.meter is not None:
        parsed.crowded = await request.meter.admit_items(receipt.items)
    answer = AppAnswer(batch_id=batch_id, server_time=rfc3339(now))
    careful = False
    for _ in range(ATTEMPTS):
        try:
            replayed = await _store(resources, request, parsed, receipt, answer, careful=careful)
        except AlreadyStored:
            careful = True
        except DayMissing:
            async with system_transaction(resources) as tx:
                await partitions.ensure_days(tx, now.date())
        except DeadlockDetectedError:
            continue
        else:
            _count(answer, parsed)
            return answer, replayed
    raise Unavailable("The batch could not be stored just now.")


async def keep_malformed(
    resources: Resources,
    caller: Caller,
    sender: Sender,
    named: str | None,
    problem: MalformedBody | EnvelopeMalformed,
    verified: Verified = UNCHECKED,
) -> None:
    """Keep what could be read of a body that is no batch, in the project that it was meant for.

    What a project would not take if it could be read is not kept either.
    """
    now = resources.clock.now()
    async with tenant_transaction(resources, caller.tenant) as tx:
        project = await resolve_project(
            tx, resources.clock, caller.tenant, bound=caller.project_id, named=named, by=caller.actor
        )
        owner = Owner(caller.tenant.no, project.no)
        if is_enough(project.settings, verified):
            await quarantine.keep_body(tx, owner, problem.code, problem.detail, problem.raw, now)
        installation = sender.installation_in(caller.tenant.id, project.id, resources.peppers[0].value)
        contact = Contact(
            installation=installation,
            instance_id=sender.instance_id,
            user_agent=sender.user_agent,
            remarks=["malformed_body"],
        )
        note_contact(tx, Place(caller.tenant, project.no, project.id, now), contact)


async def _parse(resources: Resources, cut: Cut, now: datetime) -> Parsed:
    retention = timedelta(days=resources.settings.events_retention_days)
    parsed = Parsed(now)
    outcomes = Parser(now, min(PAST, retention)).parse(events_of(cut, "events"), events_of(cut, "metrics"))
    for count, item in enumerate(outcomes, start=1):
        if isinstance(item, AppEvent):
            parsed.events.append(item)
        elif isinstance(item, AppMetric):
            parsed.metrics.append(item)
        else:
            parsed.rejected.append(item)
        if count % _PARSED_AT_ONCE == 0:
            await asyncio.sleep(0)  # others' turn
    return parsed


async def _store(
    resources: Resources,
    request: AppRequest,
    parsed: Parsed,
    receipt: Receipt,
    answer: AppAnswer,
    *,
    careful: bool,
) -> bool:
    """Store a batch in one transaction and fill in the answer; tells whether it was stored before."""
    tenant, now = request.caller.tenant, parsed.now
    async with tenant_transaction(resources, tenant) as tx:
        caller = request.caller
        project = await resolve_project(
            tx,
            resources.clock,
            tenant,
            bound=caller.project_id,
            named=project_named(request.project, request.cut),
            by=caller.actor,
        )
        owner = Owner(tenant.no, project.no)
        await _admit(tx, request, project, now)
        visit = _visit(resources, request, project, parsed)
        known_by_receipt = request.sender is not None  # else it is one item or more, not a client's batch
        if known_by_receipt and not await store.claim_receipt(tx, owner, receipt, now):
            if not await store.has_receipt(tx, owner, receipt):
                raise IdempotencyKeyReused("This Idempotency-Key was used for another body.")
            answer.duplicates = receipt.items
            visit.note_replay(tx, parsed)
            return True
        batch = _sort(parsed, identifier(str(tenant.id), str(project.id)), project, now)
        await _leave_out_seen(tx, owner, batch, project, now)
        written = AppOwner(tenant, project.no, now, visit.installation)
        events = await write_rows(tx, EVENTS, written, batch.events.values(), careful=careful)
        metrics = await write_rows(tx, METRICS, written, batch.metrics.values(), careful=careful)
        await write_noise(tx, written, batch.noise.values())
        others = [row.occurred_at for row in metrics] + [each.occurred_at for each in batch.noise.values()]
        await note_activity(tx, written, events, others)
        await quarantine.keep_items(tx, owner, answer.batch_id, parsed.rejected, now)
        if batch.skewed:
            await note_skew(tx, project, now)
            visit.remark("clock_skew")
        answer.accepted = len(events) + len(metrics)
        answer.rolled_up = len(batch.noise)
        answer.rejected = len(parsed.rejected)
        answer.duplicates = receipt.items - answer.accepted - answer.rolled_up - answer.rejected
        visit.note(tx, parsed, events=len(events), metrics=len(metrics), rolled_up=answer.rolled_up)
        await _publish(tx, tenant.id, project, _received(visit.installation or project.slug, answer), events)
    answer.rejections = [
        Rejection(item.index, item.key, item.code, item.detail)
        for item in parsed.rejected[:LISTED_REJECTIONS]
    ]
    return False


async def _admit(tx: Tx, request: AppRequest, project: Project, now: datetime) -> None:
    """Hold a batch against what its project insists on, and take a kept one from where it was.

    Raises:
        EncryptionRequired, SignatureMissing: it shows less.
        NotFound: what was kept is gone.
    """
    if request.kept is None:
        insist(project.settings, request.verified)
    elif not await request.kept.take_back(tx):
        raise NotFound("It is not kept any more.")
    for secret_id in request.verified.used:
        await note_use(tx, request.caller.tenant.id, secret_id, now)


def _visit(resources: Resources, request: AppRequest, project: Project, parsed: Parsed) -> Visit:
    tenant, sender, verified = request.caller.tenant, request.sender, request.verified
    place = Place(tenant, project.no, project.id, parsed.now)
    if sender is None:
        return Visit(place, None, None)
    installation = sender.installation_in(tenant.id, project.id, resources.peppers[0].value)
    contact = contact_of(sender, installation, request.cut, parsed, named=request.project)
    contact.remarks += verified.remarks
    contact.signature_form = verified.signature_form
    contact.encryption = "sealed" if verified.encrypted else "plain"
    return Visit(place, installation, contact)


def _received(told_as: str, answer: AppAnswer) -> TelemetryReceived:
    return TelemetryReceived(
        agent_id=told_as,
        accepted=answer.accepted,
        duplicates=answer.duplicates,
        rejected=answer.rejected,
    )


async def _publish(
    tx: Tx, tenant_id: UUID, project: Project, received: TelemetryReceived, events: Sequence[NewRow]
) -> None:
    draft = Draft(received, tenant_id, subject_seq=0, origin=Origin(project_id=project.id))
    await publish_all(tx, [draft, *alerts_of(received.agent_id, tenant_id, project.id, events)])


def _sort(parsed: Parsed, identify: Callable[[int, str], bytes], project: Project, now: datetime) -> _Sorted:
    """Give every item its id and decide how it is kept; of equal ids in one batch the first one stays."""
    batch = _Sorted()
    keep_noise = project.settings.keep_noise and not parsed.crowded
    for event in parsed.events:
        item_id = identify(event.moment.own_ms or 0, event.source_key)
        if item_id in batch.noise:
            continue  # the first one stays
        if item_id not in batch.events and event.event_class == "noise" and not keep_noise:
            batch.noise[item_id] = Noise(
                event.moment.occurred_at,
                event.event_type,
                ANY_KIND if parsed.crowded else fingerprint(event),
                _sample(event),
                stands_for(event),
            )
            batch.unsure.append(item_id)
            continue
        event.fields |= {"event_type": event.event_type, "class": event.event_class}
        _add(batch, batch.events, event, item_id, identify, now)
    for metric in parsed.metrics:
        item_id = identify(metric.moment.own_ms or 0, metric.source_key)
        _add(batch, batch.metrics, metric, item_id, identify, now)
    return batch


def _add(
    batch: _Sorted,
    rows: dict[bytes, NewRow],
    item: AppEvent | AppMetric,
    item_id: bytes,
    identify: Callable[[int, str], bytes],
    now: datetime,
) -> None:
    moment = item.moment
    earlier = rows.get(item_id)
    if earlier is not None:
        if earlier.fields != item.fields:
            earlier.flags |= Remark.KEY_REUSED
        return
    row_id = item_id
    if not moment.usable:
        row_id = identify(milliseconds(now), item.source_key)
        batch.unsure.append(item_id)
        batch.skewed = batch.skewed or moment.claimed_at is not None
    rows[item_id] = NewRow(row_id, moment.occurred_at, moment.claimed_at, int(item.flags), item.fields)


async def _leave_out_seen(tx: Tx, owner: Owner, batch: _Sorted, project: Project, now: datetime) -> None:
    """Take out what was received before and has no row whose id would tell."""
    known: set[bytes] = set()
    if batch.unsure:
        known.update(batch.unsure)
        known -= await store.mark_seen(tx, owner.tenant_no, batch.unsure, now)
    if project.skewed_at is not None and now - project.skewed_at < SKEW_REMEMBERED:
        # An item that was ahead of our clock at its first delivery is not at its second one.
        sure = [*batch.events, *batch.metrics]
        unsure = set(batch.unsure)
        known |= await store.find_seen(tx, owner.tenant_no, [i for i in sure if i not in unsure])
    for item_id in known:
        for rows in (batch.events, batch.metrics, batch.noise):
            rows.pop(item_id, None)


def _sample(event: AppEvent) -> str:
    shown = {name: value for name, value in event.fields.items() if value is not None}
    for name in ("metadata", "extra"):
        if name in shown:
            shown[name] = msgspec.Raw(shown[name].encode())
    if "ip" in shown:
        shown["ip"] = str(ip_address(shown["ip"]))
    return msgspec.json.encode(shown).decode()


def batch_id_of(cut: Cut) -> str | None:
    """Return the id that a batch gives itself, as it can be stored."""
    value: Any = decode_member(cut, "batch_id")
    if value is None:
        return None
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return storable_text(text)[:MAX_BATCH_ID]


def project_named(header: str | None, cut: Cut) -> str | None:
    """Return the project that a request names: in the header, else in the body unless it says ``default``."""
    if header:
        return header
    value = decode_member(cut, "project_id")
    return value if isinstance(value, str) and value != "default" else None


def _count(answer: AppAnswer, parsed: Parsed) -> None:
    ACCEPTED.labels("app").inc(answer.accepted)
    DUPLICATES.inc(answer.duplicates)
    BATCH_SIZE.observe(len(parsed.events) + len(parsed.metrics) + len(parsed.rejected))
    for item in parsed.rejected:
        REJECTED.labels(item.code).inc()
