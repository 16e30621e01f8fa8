"""The statement that counts the URLs that calls of a tenant have named."""

from uuid import UUID

from guardhouse.foundation.database import Tx


async def count_others(tx: Tx, tenant_id: UUID, channel: str, endpoint_id: UUID) -> int:
    """Return how many endpoints of a channel a tenant has, 0 when this one is among them; nobody waits."""
    found: int = await tx.fetch_value(
        "SELECT CASE WHEN bool_or(id = $3) THEN 0 ELSE count(*) END FROM webhook_endpoints"
        " WHERE tenant_id = $1 AND channel = $2",
        *(tenant_id, channel, endpoint_id),
    )
    return found
