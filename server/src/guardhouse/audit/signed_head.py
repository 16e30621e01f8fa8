"""Signed heads: what a log looked like on a day, in words that whoever owns the database cannot forge."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from guardhouse.audit import signing_key
from guardhouse.audit.proof import store
from guardhouse.audit.proof.store import SignedHead
from guardhouse.audit.signing_key import SigningKey
from guardhouse.foundation.clock import microseconds
from guardhouse.foundation.database import Tx


def statement(tenant_id: UUID, seq: int, entry_hash: bytes, signed_at: datetime) -> bytes:
    """Return the bytes that are signed: five lines, the time in microseconds since 1970."""
    lines = ("guardhouse-audit-head-v1", tenant_id, seq, entry_hash.hex(), microseconds(signed_at))
    return "\n".join(str(line) for line in lines).encode()


async def sign_head(tx: Tx, tenant_id: UUID, head: tuple[int, bytes], key: SigningKey, now: datetime) -> None:
    """Sign a head that a check has found right: its number and hash."""
    seq, entry_hash = head
    signature = key.sign(statement(tenant_id, seq, entry_hash, now))
    await store.add_signed_head(
        tx, tenant_id, SignedHead(seq, entry_hash, now, key.id, signature, entry_hash)
    )


def is_genuine(tenant_id: UUID, head: SignedHead, keys: Mapping[str, SigningKey]) -> bool:
    """Tell whether a stored head was signed by this installation."""
    said = statement(tenant_id, head.seq, head.hash, head.signed_at)
    return signing_key.is_signed(keys, head.key_id, said, head.signature)
