"""Which thresholds of the older score somebody wants to hear of; scoring asks, so that it need not know endpoints."""

from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.webhooks import queries
from guardhouse.webhooks.legacy_bodies import RISK_THRESHOLD
from guardhouse.webhooks.narrow import DEFAULT_THRESHOLD


async def thresholds_of(tx: Tx, tenant_id: UUID) -> frozenset[int]:
    """Return the thresholds of a tenant's endpoints that take deliveries; empty when nobody subscribed."""
    found = await queries.list_thresholds(tx, tenant_id, RISK_THRESHOLD)
    return frozenset(DEFAULT_THRESHOLD if threshold is None else threshold for threshold in found)
