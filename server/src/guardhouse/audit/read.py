"""Read the audit log: entries newest first for people, spans in order for exports, signed heads."""

from uuid import UUID

from guardhouse.audit import store
from guardhouse.audit.proof import store as proof_store
from guardhouse.audit.proof.store import Extent, SignedHead
from guardhouse.audit.store import EntryFilter, StoredEntry
from guardhouse.foundation.database import Tx


async def list_entries(
    tx: Tx, tenant_id: UUID, wanted: EntryFilter, limit: int, before_seq: int | None = None
) -> list[StoredEntry]:
    """Return entries of a tenant, newest first, below ``before_seq``."""
    return await store.list_entries(tx, tenant_id, wanted, limit, before_seq)


async def read_span(tx: Tx, tenant_id: UUID, first: int, last: int) -> list[StoredEntry]:
    """Return the entries numbered ``first`` to ``last``, in order."""
    return await store.read_span(tx, tenant_id, first, last)


async def extent(tx: Tx, tenant_id: UUID) -> Extent:
    """Return head and highest number of a log."""
    return await proof_store.extent(tx, tenant_id)


async def hash_before(tx: Tx, tenant_id: UUID, seq: int) -> bytes:
    """Return the hash that an entry follows; empty before the first, and where the entry before is gone."""
    return await proof_store.hash_of(tx, tenant_id, seq - 1) or b""


async def list_signed_heads(tx: Tx, tenant_id: UUID, limit: int, after_seq: int) -> list[SignedHead]:
    """Return signed heads after a number, in order."""
    return (await proof_store.list_signed_heads(tx, tenant_id, after_seq + 1, None))[:limit]
