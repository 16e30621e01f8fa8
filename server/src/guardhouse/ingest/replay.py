"""Idempotency of host batches: the key, and what a second request under the same key gets."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.idempotency import (
    IdempotencyInProgress,
    IdempotencyKeyRequired,
    IdempotencyKeyReused,
    checked,
    unquoted,
)
from guardhouse.ingest import store
from guardhouse.ingest.store import AnsweredBatch

SAME_ANSWER: Final = timedelta(hours=24)
KEPT: Final = timedelta(days=7)
LEGACY_KEPT: Final = timedelta(days=30)


class IdempotencyKeyMismatch(Problem):
    """Header and body name different keys."""

    status, code, title = 422, "idempotency_key_mismatch", "Idempotency keys differ"
    remediation = "Send the key once, in the header."


@dataclass(frozen=True, slots=True)
class BatchKey:
    """A batch as idempotency sees it: key, and SHA-256 of the decoded body. ``legacy``: the body is the key."""

    key: str
    hash: bytes
    legacy: bool


def batch_key(header: str | None, member: str | None, content: bytes, *, legacy: bool) -> BatchKey:
    """Return the one key of a request.

    Raises:
        IdempotencyKeyRequired: there is none.
        IdempotencyKeyInvalid: it is not 1 to 255 printable ASCII characters.
        IdempotencyKeyMismatch: header and body differ.
    """
    named = None if header is None else unquoted(header)
    if named is not None and member is not None and named != member:
        raise IdempotencyKeyMismatch("The Idempotency-Key header and idempotency_key in the body differ.")
    chosen = named if named is not None else member
    if chosen is None:
        raise IdempotencyKeyRequired("The batch has no Idempotency-Key.")
    return BatchKey(checked(chosen), hashlib.sha256(content).digest(), legacy)


async def find_answered(tx: Tx, tenant: TenantKey, agent_id: str, key: BatchKey) -> AnsweredBatch | None:
    """Claim the key until commit and return the batch already answered under it.

    Raises:
        IdempotencyInProgress: another request is at work under this key.
        IdempotencyKeyReused: it was answered for another body.
    """
    claims = [key.hash.hex(), key.key] if key.legacy else [key.key]
    for claimed in claims:
        if not await store.claim_key(tx, tenant.no, agent_id, claimed):
            raise IdempotencyInProgress
    if key.legacy:
        same_body = await store.find_body(tx, tenant.no, agent_id, key.hash)
        if same_body is not None:
            return same_body
    answered = await store.find_batch(tx, tenant.no, agent_id, key.key)
    if answered is not None and answered.hash != key.hash:
        raise IdempotencyKeyReused("This Idempotency-Key was used for another body.")
    return answered


async def remember(tx: Tx, tenant: TenantKey, agent_id: str, batch: AnsweredBatch, *, legacy: bool) -> None:
    """Keep what the same answer needs: 7 days, 30 for bodies under the older signature."""
    await store.add_batch(
        tx, tenant.no, agent_id, batch, batch.received_at + (LEGACY_KEPT if legacy else KEPT)
    )


def is_stale(batch: AnsweredBatch, now: datetime) -> bool:
    """Tell whether the answer is past 24 hours: then every accepted item is answered as a duplicate."""
    return now - batch.received_at > SAME_ANSWER
