"""What wakes dispatchers at commit: an endpoint that changed, deliveries that are due."""

from collections.abc import Sequence
from uuid import UUID

from guardhouse.foundation.database import Tx


async def notify_changed(tx: Tx, endpoint_id: UUID) -> None:
    """Tell dispatchers at commit that an endpoint is not what it was."""
    await tx.run("SELECT pg_notify('webhook_endpoints', $1)", str(endpoint_id))


async def notify_due(tx: Tx, endpoint_ids: Sequence[UUID]) -> None:
    """Tell dispatchers at commit that these endpoints have deliveries; beyond a hundred, that some have."""
    named = ",".join(str(found) for found in endpoint_ids) if len(endpoint_ids) <= 100 else ""  # noqa: PLR2004 - a payload has room for 8 kB
    await tx.run("SELECT pg_notify('webhook_deliveries', $1)", named)
