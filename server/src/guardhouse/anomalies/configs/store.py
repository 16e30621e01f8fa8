"""Versions of the configuration: table and statements."""

import json
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from guardhouse.anomalies.configs.config import Config, Judging
from guardhouse.foundation.database import Tx, metadata

_INSTANT = DateTime(timezone=True)

stream_configs = Table(
    "stream_configs",
    metadata,
    Column("tenant_no", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("config_id", Uuid, nullable=False),
    Column("judging", JSONB, nullable=False),
    Column("overrides", JSONB, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("updated_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("notes", Text),
    PrimaryKeyConstraint("tenant_no", "version"),
    Index("stream_configs_active_idx", "tenant_no", unique=True, postgresql_where=text("is_active")),
)
_COLUMNS: Final = (
    "config_id, version, judging::text, overrides::text, is_active, created_at, updated_at, created_by, notes"
)


async def find_active(tx: Tx, tenant_no: int) -> Config | None:
    """Return the version in force; None when a tenant has never changed anything."""
    row = await tx.fetch_row(
        f"SELECT {_COLUMNS} FROM stream_configs WHERE tenant_no = $1 AND is_active",
        tenant_no,
    )
    return None if row is None else _config(row)


async def find_version(tx: Tx, tenant_no: int, version: int) -> Config | None:
    """Return one version."""
    row = await tx.fetch_row(
        f"SELECT {_COLUMNS} FROM stream_configs WHERE tenant_no = $1 AND version = $2",
        tenant_no,
        version,
    )
    return None if row is None else _config(row)


async def add_version(tx: Tx, tenant_no: int, made: Config) -> None:
    """Put a version into force in place of the one before."""
    await tx.run(
        "UPDATE stream_configs SET is_active = false, updated_at = $2 WHERE tenant_no = $1 AND is_active",
        tenant_no,
        made.created_at,
    )
    await tx.run(
        "INSERT INTO stream_configs (tenant_no, version, config_id, judging, overrides, is_active, created_at,"
        " updated_at, created_by, notes) VALUES ($1, $2, $3, $4::text::jsonb, $5::text::jsonb, true, $6, $6, $7, $8)",
        tenant_no,
        made.version,
        made.id,
        json.dumps(asdict(made.judging)),
        json.dumps(made.overrides),
        made.created_at,
        made.created_by,
        made.notes,
    )


async def take_turn(tx: Tx, tenant_no: int) -> None:
    """Wait until nobody else changes this tenant's configuration, and hold it until the end of the transaction."""
    await tx.run("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"stream config {tenant_no}")


def _config(row: Any) -> Config:
    config_id, version, judging, overrides, *rest = tuple(row)
    return Config(config_id, version, Judging(**json.loads(judging)), json.loads(overrides), *rest)
