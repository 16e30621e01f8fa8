"""Write how tries ended: next try, dead letter, or done; what became of the endpoint; and the notices of both.

Many results go into one transaction. The order per endpoint is kept, because one dispatcher alone records for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import Tx
from guardhouse.foundation.resources import Resources
from guardhouse.notices.publish import Draft, Origin, publish_all
from guardhouse.notices.webhook_kinds import (
    WebhookDisabled,
    WebhookExhausted,
    WebhookRecovered,
    WebhookThrottled,
)
from guardhouse.webhooks import delivery_store, sign, store
from guardhouse.webhooks.condition import MAX_ERROR, Change, Condition
from guardhouse.webhooks.delivery_store import Due, Ended
from guardhouse.webhooks.dispatch import Outlet
from guardhouse.webhooks.schedule import next_try
from guardhouse.webhooks.send import Delivered, Outcome, Rejected
from guardhouse.webhooks.store import Endpoint

OWN_KINDS: Final = (
    "webhook."  # a dead letter about webhooks makes no notice: two endpoints would feed each other
)
OUTCOMES: Final = {"Delivered": "delivered", "Rejected": "rejected", "Unreachable": "unreachable"}


@dataclass(frozen=True, slots=True)
class Sent:
    """A try that is over and not written yet; ``change`` is what it made of the endpoint."""

    outlet: Outlet
    due: Due
    outcome: Outcome
    at: datetime
    change: Change | None


def judge(endpoint: Endpoint, due: Due, outcome: Outcome, at: datetime, now: datetime) -> Ended:
    """Return what is written of a try that began ``at`` and is over ``now``."""
    status = None if not isinstance(outcome, (Delivered, Rejected)) else outcome.status
    state, next_at, error = "delivered", None, None
    if not isinstance(outcome, Delivered):
        error = outcome.error[:MAX_ERROR]
        rejected = outcome if isinstance(outcome, Rejected) else None
        if rejected is None or not rejected.permanent:
            next_at = next_try(
                endpoint.steps,
                delivery=str(due.id),
                tried=due.attempt + 1,
                now=now,
                retry_after=None if rejected is None else rejected.retry_after,
            )
        state = "exhausted" if next_at is None else "pending"
    return Ended(
        due,
        state,
        next_at,
        at,
        OUTCOMES[type(outcome).__name__],
        status,
        error,
        outcome.latency_ms,
        outcome.address,
        outcome.signature,
        b"" if not isinstance(outcome, (Delivered, Rejected)) else outcome.answer,
    )


async def record(
    tx: Tx, resources: Resources, sent: Sequence[Sent], stale: Sequence[Outlet]
) -> list[tuple[Sent, Ended]]:
    """Write results in one transaction, and the conditions of ``stale`` outlets; returns what was judged."""
    now = resources.clock.now()
    judged = [(one, judge(one.outlet.endpoint, one.due, one.outcome, one.at, now)) for one in sent]
    ours = set()
    if judged:
        ordered = sorted({one.due.endpoint_id for one in sent if one.due.ordered})
        await delivery_store.lock_ordered(tx, ordered)
        ours = await delivery_store.settle(tx, [ended for _, ended in judged])
        over = {
            (one.due.endpoint_id, one.due.subject)
            for one, ended in judged
            if one.due.ordered and ended.state != "pending"
        }
        await delivery_store.promote(tx, sorted(over), now)
    for outlet in stale:
        await store.note_health(tx, outlet.endpoint.id, outlet.condition.columns())
    await _publish(tx, [(one, ended) for one, ended in judged if ended.due.id in ours])
    return judged


async def _publish(tx: Tx, judged: Sequence[tuple[Sent, Ended]]) -> None:
    drafts: list[Draft] = []
    for one, ended in judged:
        if ended.state == "exhausted" and not one.due.kind.startswith(OWN_KINDS):
            drafts += await _draft(tx, one, _exhausted(one, ended))
        if one.change is not None:
            drafts += await _draft(tx, one, _changed(one.change, one.outlet.endpoint, one.outlet.condition))
    await publish_all(tx, drafts)


Said = WebhookExhausted | WebhookThrottled | WebhookRecovered | WebhookDisabled


async def _draft(tx: Tx, one: Sent, data: Said) -> list[Draft]:
    number = await store.next_notice(tx, one.outlet.endpoint.id)
    if number is None:  # removed meanwhile
        return []
    return [Draft(data, one.due.tenant_id, number, Origin(correlation_id=one.due.correlation_id))]


def _exhausted(one: Sent, ended: Ended) -> WebhookExhausted:
    return WebhookExhausted(
        endpoint_id=one.due.endpoint_id,
        description=one.outlet.endpoint.description,
        delivery_id=one.due.id,
        message_id=sign.webhook_id(one.due.message_id),
        message_kind=one.due.kind,
        tries=one.due.tries + 1,
        error=ended.error or "",
    )


def _changed(change: Change, endpoint: Endpoint, condition: Condition) -> Said:
    if change == "recovered":
        return WebhookRecovered(endpoint_id=endpoint.id, description=endpoint.description)
    if change == "disabled":
        reason = "gone" if condition.reason == "gone" else "failing"
        return WebhookDisabled(endpoint_id=endpoint.id, description=endpoint.description, reason=reason)
    return WebhookThrottled(
        endpoint_id=endpoint.id,
        description=endpoint.description,
        reason="retry_after" if condition.reason == "retry_after" else "breaker",
        until=rfc3339(condition.until) if condition.until else "",
    )
