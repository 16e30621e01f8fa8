"""The daily check of one log: what holds is signed, what does not is remembered, so that it is told once."""

from uuid import UUID

from guardhouse.audit import signed_head
from guardhouse.audit.proof import store
from guardhouse.audit.proof.store import Check
from guardhouse.audit.signing_key import SigningKey
from guardhouse.audit.verify import Walk
from guardhouse.foundation import logs
from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import Tx

_log = logs.get(__name__)


async def list_logs(tx: Tx) -> list[UUID]:
    """Return every tenant that has an audit log, or something that proves that it had one."""
    return await store.list_tenants(tx)


async def count_broken(tx: Tx) -> int:
    """Return how many logs the last checks found broken."""
    return await store.count_broken(tx)


async def conclude(tx: Tx, walk: Walk, key: SigningKey, clock: Clock) -> bool:
    """Keep the outcome of a finished walk over a whole log; True when it is a break that was not known before.

    A head that holds is signed and logged: the log file is a copy that the database cannot rewrite.
    """
    now, broken = clock.now(), walk.broken
    before = await store.find_check(tx, walk.tenant_id)
    seq, fault = (None, None) if broken is None else (broken.seq, broken.fault)
    await store.save_check(tx, walk.tenant_id, Check(walk.extent.head_seq, seq, fault), now)
    if broken is not None:
        _log.error(
            "audit_chain_broken",
            tenant=str(walk.tenant_id),
            seq=broken.seq,
            fault=broken.fault,
            last_seq=walk.last,
        )
        return before is None or (before.broken_seq, before.fault) != (broken.seq, broken.fault)
    if walk.last > 0 and walk.end_hash is not None:
        await signed_head.sign_head(tx, walk.tenant_id, (walk.last, walk.end_hash), key, now)
        _log.info(
            "audit_head_signed",
            tenant=str(walk.tenant_id),
            seq=walk.last,
            hash=walk.end_hash.hex(),
            key_id=key.id,
        )
    return False
