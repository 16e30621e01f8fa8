"""Idempotency of calls that create: under one key a call happens once, and a repeat gets the very same answer.

The answer is stored in the transaction of the change, so both are there or neither. A claim takes an advisory
lock and writes nothing: a transaction that has not written yet may still take its turn in the log of notices.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg
from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from guardhouse.foundation.database import TenantKey, Tx, metadata
from guardhouse.foundation.errors import Problem

MAX_KEY_LENGTH: Final = 255
KEPT: Final = timedelta(hours=24)
LEASE: Final = timedelta(seconds=60)
PATIENCE_SECONDS: Final = 2.0

_INSTANT = DateTime(timezone=True)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("route", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("status", SmallInteger),
    Column("headers", JSONB),
    Column("body", LargeBinary),
    Column("lease_until", _INSTANT),
    Column("expires_at", _INSTANT, nullable=False),
    PrimaryKeyConstraint("tenant_id", "route", "key"),
    Index("idempotency_keys_expires_at_idx", "expires_at"),
    CheckConstraint("(status IS NULL) = (lease_until IS NOT NULL)", name="answered_or_leased"),
)


class IdempotencyKeyRequired(Problem):
    """This call is taken with an Idempotency-Key only, so that a retry cannot happen twice."""

    status, code, title = 400, "idempotency_key_required", "Idempotency-Key required"
    remediation = "Send an Idempotency-Key header, the same one on each retry."


class IdempotencyKeyInvalid(Problem):
    """The key is empty, longer than 255, or not printable ASCII."""

    status, code, title = 400, "idempotency_key_invalid", "Idempotency-Key invalid"
    remediation = "Use 1 to 255 printable ASCII characters, bare or in double quotes."


class IdempotencyKeyReused(Problem):
    """The key belongs to another request of this route: other path, query, media type or body."""

    status, code, title = 409, "idempotency_key_reused", "Idempotency-Key reused"
    remediation = "Use a new key for a new request; repeat the very same bytes under the old one."


class IdempotencyInProgress(Problem):
    """The first request under this key is still running."""

    status, code, title = 409, "idempotency_in_progress", "First request still running"
    remediation = "Wait a second and send the same request again."

    def __init__(self) -> None:
        super().__init__(
            "The first request under this Idempotency-Key has not finished.", headers={"Retry-After": "1"}
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One call as idempotency sees it: whose, which route, under which key, and SHA-256 of what was asked."""

    tenant: TenantKey
    route: str
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call was answered, byte for byte."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def read_key(given: Sequence[str]) -> str | None:
    """Return the key of the ``Idempotency-Key`` headers, bare or quoted; None when there is none.

    Raises:
        IdempotencyKeyInvalid: not 1 to 255 printable ASCII characters, or two different keys.
    """
    if not given:
        return None
    keys = {unquoted(value) for value in given}
    if len(keys) > 1:
        raise IdempotencyKeyInvalid("The request has two different Idempotency-Keys.")
    return checked(keys.pop())


def unquoted(value: str) -> str:
    """Return a header's key without the quotes that a structured field puts around it."""
    text = value.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def checked(key: str) -> str:
    """Return a usable key.

    Raises:
        IdempotencyKeyInvalid: not 1 to 255 printable ASCII characters.
    """
    if not 1 <= len(key) <= MAX_KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise IdempotencyKeyInvalid("The Idempotency-Key is not 1 to 255 printable ASCII characters.")
    return key


def fingerprint(*parts: bytes) -> bytes:
    """Return SHA-256 over parts, each with its length, so that no two lists of parts look alike."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


async def claim(tx: Tx, call: Call, now: datetime) -> Answer | None:
    """Hold the key until the end of this transaction and return what it was answered before, if it was.

    Waits up to two seconds for another transaction that holds it. Writes nothing.

    Raises:
        IdempotencyInProgress: the first one has not finished by then, or holds a lease.
        IdempotencyKeyReused: the key belongs to another request.
    """
    await _lock(tx, call)
    row = await tx.fetch_row(
        "SELECT fingerprint, status, headers::text AS headers, body, lease_until > $4 AS leased"
        " FROM idempotency_keys WHERE tenant_id = $1 AND route = $2 AND key = $3 AND expires_at > $4",
        call.tenant.id,
        call.route,
        call.key,
        now,
    )
    if row is None or (row["status"] is None and not row["leased"]):
        return None
    if row["fingerprint"] != call.fingerprint:
        raise IdempotencyKeyReused("This Idempotency-Key was used for another request.")
    if row["status"] is None:
        raise IdempotencyInProgress
    return Answer(
        row["status"], tuple((name, value) for name, value in json.loads(row["headers"])), row["body"]
    )


async def remember(tx: Tx, call: Call, answer: Answer, now: datetime) -> None:
    """Store the answer of a call claimed in this transaction, for 24 hours."""
    await _write(tx, call, answer, None, now + KEPT)


async def lease(tx: Tx, call: Call, now: datetime) -> datetime:
    """Keep a claimed key for a minute beyond this transaction; returns until when, which is the lease's name."""
    until = now + LEASE
    await _write(tx, call, None, until, now + KEPT)
    return until


async def finish(tx: Tx, call: Call, until: datetime, answer: Answer | None, now: datetime) -> bool:
    """End a lease with its answer, or with None so that the key is free again; False when the lease was lost."""
    place = (call.tenant.id, call.route, call.key, until)
    if answer is None:
        done = await tx.run(
            "DELETE FROM idempotency_keys WHERE tenant_id = $1 AND route = $2 AND key = $3 AND lease_until = $4",
            *place,
        )
    else:
        done = await tx.run(
            "UPDATE idempotency_keys SET status = $5, headers = $6::text::jsonb, body = $7, lease_until = NULL,"
            " expires_at = $8 WHERE tenant_id = $1 AND route = $2 AND key = $3 AND lease_until = $4",
            *place,
            answer.status,
            json.dumps(answer.headers),
            answer.body,
            now + KEPT,
        )
    return done.endswith(" 1")


async def prune(tx: Tx, now: datetime, limit: int) -> int:
    """Delete answers whose time is over, at most ``limit``; returns how many."""
    tag = await tx.run(
        "DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY("
        "SELECT ctid FROM idempotency_keys WHERE expires_at <= $1 LIMIT $2))",
        now,
        limit,
    )
    return int(tag.rpartition(" ")[2])


async def _lock(tx: Tx, call: Call) -> None:
    name = f"idempotency {call.tenant.id} {call.route} {call.key}"
    if await tx.fetch_value("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))", name):
        return
    await tx.run(f"SET LOCAL lock_timeout = {int(PATIENCE_SECONDS * 1000)}")
    try:
        await tx.run("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", name)
    except asyncpg.LockNotAvailableError:
        raise IdempotencyInProgress from None
    await tx.run("SET LOCAL lock_timeout = DEFAULT")


async def _write(
    tx: Tx, call: Call, answer: Answer | None, until: datetime | None, expires: datetime
) -> None:
    await tx.run(
        "INSERT INTO idempotency_keys (tenant_id, route, key, fingerprint, status, headers, body, lease_until,"
        " expires_at) VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, $7, $8, $9)"
        " ON CONFLICT (tenant_id, route, key) DO UPDATE SET fingerprint = excluded.fingerprint,"
        " status = excluded.status, headers = excluded.headers, body = excluded.body,"
        " lease_until = excluded.lease_until, expires_at = excluded.expires_at",
        call.tenant.id,
        call.route,
        call.key,
        call.fingerprint,
        answer.status if answer else None,
        json.dumps(answer.headers) if answer else None,
        answer.body if answer else None,
        until,
        expires,
    )
