"""Idempotency of host batches: the key, and what a second request under the same key gets."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import Problem
from guardhouse.ingest import store
from guardhouse.ingest.store import AnsweredBatch

MAX_KEY_LENGTH: Final = 255
SAME_ANSWER: Final = timedelta(hours=24)
KEPT: Final = timedelta(days=7)
LEGACY_KEPT: Final = timedelta(days=30)


class IdempotencyKeyRequired(Problem):
    """A host batch came without a key."""

    status, code, title = 400, "idempotency_key_required", "Idempotency-Key required"
    remediation = (
        "Send an Idempotency-Key header (or idempotency_key in the body), the same one on each retry."
    )


class IdempotencyKeyInvalid(Problem):
    """The key is empty, longer than 255, or not printable ASCII."""

    status, code, title = 400, "idempotency_key_invalid", "Idempotency-Key invalid"
    remediation = "Use 1 to 255 printable ASCII characters, bare or in double quotes."


class IdempotencyKeyMismatch(Problem):
    """Header and body name different keys."""

    status, code, title = 422, "idempotency_key_mismatch", "Idempotency keys differ"
    remediation = "Send the key once, in the header."


class IdempotencyKeyReused(Problem):
    """The key belongs to another body."""

    status, code, title = 409, "idempotency_key_reused", "Idempotency-Key reused"
    remediation = "Use a new key for a new batch; repeat the very same bytes under the old one."


class IdempotencyInProgress(Problem):
    """The first request under this key is still running."""

    status, code, title = 409, "idempotency_in_progress", "First request still running"
    remediation = "Wait a second and send the same request again."

    def __init__(self) -> None:
        super().__init__(
            "The first request under this Idempotency-Key has not finished.", headers={"Retry-After": "1"}
        )


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
    named = None if header is None else _unquote(header)
    if named is not None and member is not None and named != member:
        raise IdempotencyKeyMismatch("The Idempotency-Key header and idempotency_key in the body differ.")
    chosen = named if named is not None else member
    if chosen is None:
        raise IdempotencyKeyRequired("The batch has no Idempotency-Key.")
    if not 1 <= len(chosen) <= MAX_KEY_LENGTH or not chosen.isascii() or not chosen.isprintable():
        raise IdempotencyKeyInvalid("The Idempotency-Key is not 1 to 255 printable ASCII characters.")
    return BatchKey(chosen, hashlib.sha256(content).digest(), legacy)


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


def _unquote(value: str) -> str:
    text = value.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
