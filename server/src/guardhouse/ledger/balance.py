"""The balance of a tenant, for whoever shows it beside something else."""

from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.ledger import store


async def available_micros(tx: Tx, tenant_id: UUID) -> int:
    """Return what a tenant may still hold."""
    return (await store.read_balance(tx, tenant_id)).available
