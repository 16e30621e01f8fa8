"""Tables of webhooks, and the statements on endpoints.

Deliveries have ``delivery_store``, lanes and days ``lane_store``; what the API only reads is in ``queries``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy import Sequence as DatabaseSequence
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL
from sqlalchemy.dialects.postgresql import insert as postgresql_insert

from guardhouse.foundation.database import Tx, metadata
from guardhouse.webhooks.narrow import Filter, filter_of

SHARDS: Final = 64
_INSTANT: Final = DateTime(timezone=True)

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("shard", SmallInteger, nullable=False),
    Column("channel", Text, nullable=False),
    Column("channel_config", JSONB, nullable=False),
    Column("url", Text, nullable=False),
    Column("description", Text),
    Column("kinds", ARRAY(Text), nullable=False),
    Column("scopes", ARRAY(Text)),
    Column("filter", JSONB, nullable=False),
    Column("preset", Text, nullable=False),
    Column("steps", ARRAY(Double), nullable=False),
    Column("timeout_ms", Integer, nullable=False),
    Column("concurrency", SmallInteger, nullable=False),
    Column("rate_per_second", Double),
    Column("fifo", Boolean, nullable=False),
    Column("headers", LargeBinary),
    Column("secret", LargeBinary, nullable=False),
    Column("previous_secret", LargeBinary),
    Column("previous_until", _INSTANT),
    Column("private_key", LargeBinary),
    Column("public_key", Text),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("resume_at", _INSTANT),
    Column("breaker", JSONB),
    Column("first_failure_at", _INSTANT),
    Column("last_failure_at", _INSTANT),
    Column("failing_since", _INSTANT),
    Column("last_error", Text),
    Column("last_success_at", _INSTANT),
    Column("last_tried_at", _INSTANT),
    Column("replays", Integer, nullable=False),
    Column("notices", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("updated_at", _INSTANT, nullable=False),
    CheckConstraint("channel IN ('webhook', 'slack', 'pagerduty', 'email', 'adhoc')", name="channel"),
    CheckConstraint("preset IN ('standard', 'three_strikes', 'custom')", name="preset"),
    CheckConstraint("state IN ('active', 'throttled', 'paused', 'disabled')", name="state"),
    Index("webhook_endpoints_tenant_id_idx", "tenant_id", "id"),
    Index("webhook_endpoints_shard_idx", "shard"),
)

webhook_messages = Table(
    "webhook_messages",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("at", _INSTANT, nullable=False),
    Column("tenant_id", Uuid, nullable=False),
    Column("notice_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("subject_seq", BigInteger, nullable=False),
    Column("severity", Text, nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("id", "at"),
    Index("webhook_messages_tenant_id_at_idx", "tenant_id", "at", "id"),
    postgresql_partition_by="RANGE (at)",
)

_ONCE: Final = ("endpoint_id", "message_id", "replay", "message_at")
_LISTED: Final = ("tenant_id", "endpoint_id", "message_at", "number")
_DUE: Final = ("endpoint_id", "bulk", "next_at", "number")
_LINE: Final = ("endpoint_id", "subject", "number")
_DEAD: Final = ("tenant_id", "message_at", "number")
_REPLAYED: Final = ("tenant_id", "endpoint_id", "replay", "state")

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("message_at", _INSTANT, nullable=False),
    Column("tenant_id", Uuid, nullable=False),
    Column("endpoint_id", Uuid, nullable=False),
    Column("message_id", Uuid, nullable=False),
    Column("number", BigInteger, DatabaseSequence("webhook_delivery_numbers"), nullable=False),
    Column("replay", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("bulk", Boolean, nullable=False),
    Column("ordered", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", SmallInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_at", _INSTANT),
    Column("last_status", SmallInteger),
    Column("last_error", Text),
    Column("created_at", _INSTANT, nullable=False),
    Column("finished_at", _INSTANT),
    PrimaryKeyConstraint("id", "message_at"),
    CheckConstraint("state IN ('pending', 'delivered', 'exhausted', 'discarded', 'cancelled')", name="state"),
    Index("webhook_deliveries_endpoint_id_message_id_idx", *_ONCE, unique=True),
    Index("webhook_deliveries_tenant_id_endpoint_id_idx", *_LISTED),
    Index("webhook_deliveries_due_idx", *_DUE, postgresql_where=text("state = 'pending'")),
    Index("webhook_deliveries_ordered_idx", *_LINE, postgresql_where=text("state = 'pending' AND ordered")),
    Index("webhook_deliveries_dead_idx", *_DEAD, postgresql_where=text("state = 'exhausted'")),
    Index("webhook_deliveries_replay_idx", *_REPLAYED, postgresql_where=text("bulk")),
    postgresql_partition_by="RANGE (message_at)",
)

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("delivery_id", Uuid, nullable=False),
    Column("message_at", _INSTANT, nullable=False),
    Column("number", Integer, nullable=False),
    Column("tenant_id", Uuid, nullable=False),
    Column("endpoint_id", Uuid, nullable=False),
    Column("at", _INSTANT, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("status", SmallInteger),
    Column("error", Text),
    Column("latency_ms", REAL, nullable=False),
    Column("address", Text),
    Column("signature", Text, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    PrimaryKeyConstraint("delivery_id", "number", "message_at"),
    CheckConstraint("outcome IN ('delivered', 'rejected', 'unreachable')", name="outcome"),
    Index("webhook_attempts_tenant_id_endpoint_id_idx", "tenant_id", "endpoint_id", "at"),
    postgresql_partition_by="RANGE (message_at)",
)

webhook_replays = Table(
    "webhook_replays",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("endpoint_id", Uuid, nullable=False),
    Column("number", Integer, nullable=False),
    Column("mode", Text, nullable=False),
    Column("since", _INSTANT, nullable=False),
    Column("until", _INSTANT, nullable=False),
    Column("message_id", Uuid),
    Column("state", Text, nullable=False),
    Column("place", JSONB),
    Column("looked_at", BigInteger, nullable=False),
    Column("queued", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("finished_at", _INSTANT),
    CheckConstraint("mode IN ('one', 'range', 'failed', 'missing')", name="mode"),
    CheckConstraint("state IN ('running', 'done', 'cancelled')", name="state"),
    Index("webhook_replays_tenant_id_idx", "tenant_id", "endpoint_id", "id"),
)

webhook_lanes = Table(
    "webhook_lanes",
    metadata,
    Column("lane", SmallInteger, primary_key=True, autoincrement=False),
    Column("owner", Uuid),
    Column("lease_until", _INSTANT),
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A destination: where, what, how fast, and how it fares. Sealed members are opened by the sender alone."""

    id: UUID
    tenant_id: UUID
    shard: int
    channel: str
    channel_config: dict[str, Any]
    url: str = field(repr=False)
    description: str | None
    kinds: tuple[str, ...]
    scopes: frozenset[str] | None
    filter: Filter
    preset: str
    steps: tuple[float, ...]
    timeout_ms: int
    concurrency: int
    rate_per_second: float | None
    fifo: bool
    headers: bytes | None = field(repr=False)
    secret: bytes = field(repr=False)
    previous_secret: bytes | None = field(repr=False)
    previous_until: datetime | None
    private_key: bytes | None = field(repr=False)
    public_key: str | None
    state: str
    reason: str | None
    resume_at: datetime | None
    breaker: dict[str, Any] | None
    first_failure_at: datetime | None
    last_failure_at: datetime | None
    failing_since: datetime | None
    last_error: str | None
    last_success_at: datetime | None
    last_tried_at: datetime | None
    replays: int
    notices: int
    version: int
    created_by: str
    created_at: datetime
    updated_at: datetime

    @property
    def takes(self) -> bool:
        """Whether deliveries are made for it."""
        return self.state in {"active", "throttled"}


@dataclass(frozen=True, slots=True)
class Listed:
    """Which endpoints to list: of some channels, of one owner or all, after an id."""

    channels: tuple[str, ...]
    owner: str | None = None
    after: UUID | None = None


def shard_of(endpoint_id: UUID) -> int:
    """Return the shard of an endpoint: whoever holds its lane sends for it."""
    return endpoint_id.int % SHARDS


# Endpoints


async def add_endpoint(tx: Tx, values: Mapping[str, Any]) -> Endpoint:
    """Insert an endpoint."""
    made = await tx.execute(insert(webhook_endpoints).values(values).returning(*webhook_endpoints.c))
    return _endpoint(made.one())


async def put_endpoint(tx: Tx, values: Mapping[str, Any], afresh: Mapping[str, Any]) -> None:
    """Insert an endpoint, or begin afresh with the one of this id that is there."""
    made = postgresql_insert(webhook_endpoints).values(dict(values))
    again = {**afresh, "updated_at": values["updated_at"]}
    await tx.execute(made.on_conflict_do_update(index_elements=[webhook_endpoints.c.id], set_=again))


async def delete_unused(tx: Tx, channel: str, before: datetime) -> int:
    """Remove endpoints of a channel that nobody asked for since an instant; returns how many."""
    table = webhook_endpoints
    gone = await tx.execute(delete(table).where(table.c.channel == channel, table.c.updated_at < before))
    return gone.rowcount


async def count_endpoints(tx: Tx, tenant_id: UUID, channel: str) -> int:
    """Return how many endpoints of a channel a tenant has; two that add at once wait for each other."""
    await tx.run("SELECT pg_advisory_xact_lock(hashtextextended('webhooks ' || $1::text, 0))", str(tenant_id))
    found = await tx.execute(
        select(func.count()).where(
            webhook_endpoints.c.tenant_id == tenant_id, webhook_endpoints.c.channel == channel
        )
    )
    return int(found.scalar_one())


async def get_endpoint(tx: Tx, tenant_id: UUID, endpoint_id: UUID, *, lock: bool = False) -> Endpoint | None:
    """Return one endpoint of a tenant."""
    statement = select(webhook_endpoints).where(
        webhook_endpoints.c.tenant_id == tenant_id, webhook_endpoints.c.id == endpoint_id
    )
    row = (await tx.execute(statement.with_for_update() if lock else statement)).one_or_none()
    return None if row is None else _endpoint(row)


async def list_endpoints(tx: Tx, tenant_id: UUID, asked: Listed, limit: int) -> list[Endpoint]:
    """Return endpoints of a tenant, oldest first."""
    table = webhook_endpoints
    statement = select(table).where(table.c.tenant_id == tenant_id, table.c.channel.in_(asked.channels))
    if asked.owner is not None:
        statement = statement.where(table.c.created_by == asked.owner)
    if asked.after is not None:
        statement = statement.where(table.c.id > asked.after)
    found = await tx.execute(statement.order_by(table.c.id).limit(limit))
    return [_endpoint(row) for row in found]


async def update_endpoint(tx: Tx, endpoint_id: UUID, changes: Mapping[str, Any]) -> Endpoint:
    """Change an endpoint by hand: its version grows."""
    table = webhook_endpoints
    made = await tx.execute(
        update(table)
        .where(table.c.id == endpoint_id)
        .values({**changes, "version": table.c.version + 1})
        .returning(*table.c)
    )
    return _endpoint(made.one())


async def note_health(tx: Tx, endpoint_id: UUID, changes: Mapping[str, Any]) -> None:
    """Write how an endpoint fares, unless it was stopped by hand; its version stays, nobody edited it."""
    table = webhook_endpoints
    await tx.execute(
        update(table)
        .where(table.c.id == endpoint_id, table.c.state.in_(("active", "throttled")))
        .values(dict(changes))
    )


async def next_notice(tx: Tx, endpoint_id: UUID) -> int | None:
    """Return the number of the next notice about an endpoint, or None when it is gone."""
    table = webhook_endpoints
    made = await tx.execute(
        update(table)
        .where(table.c.id == endpoint_id)
        .values(notices=table.c.notices + 1)
        .returning(table.c.notices)
    )
    return made.scalar_one_or_none()


async def delete_endpoint(tx: Tx, endpoint_id: UUID) -> None:
    """Remove an endpoint; its deliveries stay until their day goes."""
    await tx.execute(delete(webhook_endpoints).where(webhook_endpoints.c.id == endpoint_id))


async def list_versions(tx: Tx, tenants: Sequence[UUID]) -> dict[UUID, int]:
    """Return the endpoints of some tenants that take deliveries now, each with its version."""
    rows = await tx.fetch(
        "SELECT id, version FROM webhook_endpoints"
        " WHERE tenant_id = ANY ($1::uuid[]) AND state IN ('active', 'throttled') ORDER BY id",
        list(tenants),
    )
    return {row["id"]: row["version"] for row in rows}


async def load_endpoints(tx: Tx, ids: Sequence[UUID]) -> list[Endpoint]:
    """Return endpoints by id."""
    found = await tx.execute(select(webhook_endpoints).where(webhook_endpoints.c.id.in_(ids)))
    return [_endpoint(row) for row in found]


async def load_shards(tx: Tx, shards: Sequence[int]) -> list[Endpoint]:
    """Return every endpoint of some shards that takes deliveries."""
    table = webhook_endpoints
    found = await tx.execute(
        select(table).where(table.c.shard.in_(shards), table.c.state.in_(("active", "throttled")))
    )
    return [_endpoint(row) for row in found]


def _endpoint(row: Any) -> Endpoint:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public accessor, named so that no column hides it
    values["kinds"] = tuple(values["kinds"])
    values["scopes"] = None if values["scopes"] is None else frozenset(values["scopes"])
    values["steps"] = tuple(values["steps"])
    values["filter"] = filter_of(values["filter"])
    return Endpoint(**values)
