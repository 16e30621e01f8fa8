"""Turn notices into deliveries: one message per (notice, format), one delivery per endpoint that wants it.

Cursor, messages and deliveries move in one transaction, so each notice is turned exactly once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID, uuid5

from guardhouse.foundation import logs
from guardhouse.foundation.database import Tx
from guardhouse.foundation.ids import new_id
from guardhouse.notices import read
from guardhouse.notices.read import Mark, Notice
from guardhouse.webhooks import delivery_store, formats, rules, store, wake_store
from guardhouse.webhooks.channels.admit import admit
from guardhouse.webhooks.delivery_store import Due, NewDelivery, NewMessage
from guardhouse.webhooks.formats import STANDARD, RenderContext
from guardhouse.webhooks.store import Endpoint

NOBODY: Final[frozenset[UUID]] = frozenset()
READER: Final = "webhooks"
BATCH: Final = 500
_log = logs.get(__name__)


class CursorMoved(Exception):  # noqa: N818 - not an error: somebody else did this step
    """Another process has turned these notices."""


@dataclass(slots=True)
class EndpointCache:
    """Endpoints by id, kept while their version stands; which ones count is asked anew in each step."""

    known: dict[UUID, Endpoint] = field(default_factory=dict)

    async def current(self, tx: Tx, tenants: Iterable[UUID]) -> dict[UUID, list[Endpoint]]:
        """Return the endpoints of some tenants that take deliveries, as they are in this transaction."""
        versions = await store.list_versions(tx, list(tenants))
        stale = [
            found
            for found, version in versions.items()
            if found not in self.known or self.known[found].version != version
        ]
        for endpoint in await store.load_endpoints(tx, stale) if stale else ():
            self.known[endpoint.id] = endpoint
        by_tenant: dict[UUID, list[Endpoint]] = {}
        for found in versions:
            if found in self.known:
                by_tenant.setdefault(self.known[found].tenant_id, []).append(self.known[found])
        return by_tenant


@dataclass(frozen=True, slots=True)
class Step:
    """What a step did: where the cursor stands, how many notices it turned, and whether more are held back."""

    mark: Mark
    notices: int
    deliveries: int
    held: bool
    due: Sequence[Due] = ()  # of the endpoints asked for, once the transaction is committed


@dataclass(frozen=True, slots=True)
class Made:
    """How many deliveries were new, and those that may be sent at once."""

    deliveries: int = 0
    due: Sequence[Due] = ()


async def fan_out(
    tx: Tx,
    mark: Mark,
    cache: EndpointCache,
    context: RenderContext,
    now: datetime,
    here: frozenset[UUID] = NOBODY,
) -> Step:
    """Turn the notices after ``mark``, at most 500; nobody is told of what is due for endpoints ``here``.

    Raises:
        CursorMoved: somebody else did; nothing may be committed.
    """
    found = await read.read_after(tx, mark, BATCH)
    if not found.notices:
        return Step(mark, 0, 0, found.held)
    endpoints = await cache.current(tx, {notice.tenant_id for notice in found.notices})
    pairs = [
        (endpoint, notice, form)
        for notice in found.notices
        for endpoint in endpoints.get(notice.tenant_id, ())
        if (form := rules.admits(endpoint, notice)) is not None
    ]
    made = await add(tx, await admit(tx, pairs, now), context, now, here=here)
    last = found.notices[-1]
    reached = Mark(last.position, last.occurred_at)
    if not await read.move_reader(tx, READER, mark.position, reached.position):
        raise CursorMoved
    return Step(reached, len(found.notices), made.deliveries, found.held, made.due)


async def add(
    tx: Tx,
    pairs: Sequence[tuple[Endpoint, Notice, str]],
    context: RenderContext,
    now: datetime,
    *,
    replay: int = 0,
    here: frozenset[UUID] = NOBODY,
) -> Made:
    """Make the messages and deliveries of (endpoint, notice, format); those due for endpoints ``here`` come back."""
    messages: dict[UUID, NewMessage] = {}
    deliveries = []
    for endpoint, notice, form in pairs:
        found = message_id(notice, form)
        if found not in messages:
            body = _render(form, notice, context)
            if body is None:
                continue
            messages[found] = message_of(found, form, notice, body)
        deliveries.append(
            NewDelivery(
                new_id(), notice.occurred_at, notice.tenant_id, endpoint.id, found, replay, notice.kind,
                notice.subject, endpoint.fifo,
            )
        )  # fmt: skip
    if not deliveries:
        return Made()
    await delivery_store.lock_ordered(tx, sorted({endpoint.id for endpoint, _, _ in pairs if endpoint.fifo}))
    fresh = await delivery_store.add_messages(tx, list(messages.values()))
    made = await delivery_store.add_deliveries(tx, deliveries, now)
    versions = {endpoint.id: endpoint.version for endpoint, _, _ in pairs}
    due = [
        _due(one, messages[one.message_id], versions[one.endpoint_id])
        for one in deliveries
        if one.endpoint_id in here and made.get(one.id) and one.message_id in fresh
    ]
    told = {one.endpoint_id for one in deliveries} - {one.endpoint_id for one in due}
    if told:
        await wake_store.notify_due(tx, sorted(told))
    return Made(len(made), due)


def message_id(notice: Notice, form: str) -> UUID:
    """Return the id of a notice's message in a format: always the same, so that a replay repeats it."""
    return notice.notice_id if form == STANDARD else uuid5(notice.notice_id, form)


def _render(form: str, notice: Notice, context: RenderContext) -> bytes | None:
    """Return the body; a notice that cannot be rendered is logged and must not hold up the others."""
    try:
        return formats.render(form, notice, context)
    except Exception:  # noqa: BLE001 - as said
        _log.exception("webhook_not_rendered", kind=notice.kind, notice_id=str(notice.notice_id), format=form)
        return None


def message_of(message: UUID, form: str, notice: Notice, body: bytes) -> NewMessage:
    """Return the message of a rendered notice."""
    return NewMessage(
        id=message,
        at=notice.occurred_at,
        tenant_id=notice.tenant_id,
        notice_id=notice.notice_id,
        kind=notice.kind,
        format=form,
        event_type=formats.event_type(form, notice),
        subject=notice.subject,
        subject_seq=notice.subject_seq,
        severity=notice.severity,
        correlation_id=notice.correlation_id,
        body=body,
    )


def _due(delivery: NewDelivery, message: NewMessage, version: int) -> Due:
    """Return a new delivery as it would be claimed."""
    return Due(
        id=delivery.id,
        message_at=delivery.message_at,
        tenant_id=delivery.tenant_id,
        endpoint_id=delivery.endpoint_id,
        message_id=delivery.message_id,
        replay=delivery.replay,
        bulk=delivery.replay > 0,
        ordered=delivery.ordered,
        subject=delivery.subject,
        kind=delivery.kind,
        attempt=0,
        tries=0,
        format=message.format,
        event_type=message.event_type,
        severity=message.severity,
        correlation_id=message.correlation_id,
        body=message.body,
        version=version,
    )
