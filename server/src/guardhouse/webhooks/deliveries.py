"""Deliveries by hand: find one, try it now, give up on it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from guardhouse.audit.record import Entry
from guardhouse.audit.record import record as audit
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.identity.caller import Caller
from guardhouse.webhooks import delivery_store, queries, store, wake_store
from guardhouse.webhooks.queries import Delivery

AT_ONCE: Final = 1000


async def get(tx: Tx, caller: Caller, delivery_id: UUID, *, owner: str | None) -> Delivery:
    """Return one delivery of the caller's tenant, of any endpoint or of an owner's only.

    Raises:
        NotFound: there is none.
    """
    found = await queries.get_delivery(tx, caller.tenant.id, delivery_id)
    if found is not None and owner is not None:
        endpoint = await store.get_endpoint(tx, caller.tenant.id, found.endpoint_id)
        found = found if endpoint is not None and endpoint.created_by == owner else None
    if found is None:
        raise NotFound("There is no such delivery.")
    return found


async def retry(tx: Tx, caller: Caller, found: Delivery, now: datetime) -> Delivery:
    """Make a delivery due now.

    Raises:
        Conflict: it has arrived already (that is a replay), or its endpoint is gone or stopped.
    """
    endpoint = await store.get_endpoint(tx, caller.tenant.id, found.endpoint_id, lock=True)
    if endpoint is None or not endpoint.takes:
        raise Conflict("The endpoint is stopped or gone.")
    if not await delivery_store.begin_again(tx, caller.tenant.id, found.id, now):
        raise Conflict("The delivery has arrived; replay its message to send it again.")
    await wake_store.notify_changed(
        tx, endpoint.id
    )  # the dispatcher looks back as far as this message is old
    await wake_store.notify_due(tx, [endpoint.id])
    await audit(tx, caller.actor, Entry("webhook.retry", f"delivery:{found.id}"))
    return await get(tx, caller, found.id, owner=None)


async def discard(tx: Tx, tenant_id: UUID, ids: Sequence[UUID], now: datetime) -> int:
    """Give up dead letters, or skip pending deliveries; returns how many. What waited behind them goes."""
    await delivery_store.lock_ordered(tx, await delivery_store.endpoints_of(tx, tenant_id, ids))
    lines = await delivery_store.end_by_hand(
        tx, tenant_id, ids, states=("exhausted", "pending"), to="discarded", now=now
    )
    endpoints = sorted({endpoint for endpoint, _ in lines})
    await delivery_store.promote(tx, sorted(set(lines)), now)
    if endpoints:
        await wake_store.notify_due(tx, endpoints)
    return len(lines)
