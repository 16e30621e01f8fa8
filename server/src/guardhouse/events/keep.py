"""Keep the events that an explanation cites: evidence outlives retention."""

from collections.abc import Collection
from datetime import timedelta

from guardhouse.events import store
from guardhouse.events.identify import milliseconds_of
from guardhouse.events.store import StoredEvent
from guardhouse.foundation.clock import from_microseconds
from guardhouse.foundation.database import TenantKey, Tx


async def keep_events(tx: Tx, tenant_no: int, ids: Collection[str]) -> None:
    """Copy events, named in hexadecimal, to where no retention reaches them; what is kept already stays as it is."""
    if not ids:
        return
    wanted = sorted(bytes.fromhex(text) for text in ids)
    since = from_microseconds(milliseconds_of(wanted[0]) * 1000)
    until = from_microseconds(milliseconds_of(wanted[-1]) * 1000) + timedelta(milliseconds=1)
    await store.keep_events(tx, tenant_no, wanted, since, until)


async def list_kept(tx: Tx, tenant: TenantKey, ids: Collection[str]) -> list[StoredEvent]:
    """Return the kept ones among some events of a tenant, in the order in which they were applied."""
    return await store.list_kept(tx, tenant.no, sorted(bytes.fromhex(text) for text in ids))
