"""The configuration in force: the newest version, or the defaults while a tenant has changed nothing."""

import uuid
from datetime import datetime

from guardhouse.anomalies.configs import store
from guardhouse.anomalies.configs.config import Config, Judging
from guardhouse.foundation.database import TenantKey, Tx

FIRST_VERSION = 1


async def find_config(tx: Tx, tenant: TenantKey, now: datetime) -> Config:
    """Return the configuration that a tenant's streams are judged by."""
    return await store.find_active(tx, tenant.no) or default_config(tenant, now)


def default_config(tenant: TenantKey, now: datetime) -> Config:
    """Return version 1, which is written down with the first change."""
    made_id = uuid.uuid5(tenant.id, "stream config")
    return Config(
        made_id,
        FIRST_VERSION,
        Judging(),
        {},
        is_active=True,
        created_at=now,
        updated_at=now,
        created_by="system",
    )


async def find_version(tx: Tx, tenant: TenantKey, version: int, now: datetime) -> Config:
    """Return one version; version 1 may have been in force without having been written down."""
    found = await store.find_version(tx, tenant.no, version)
    return found or default_config(tenant, now)
