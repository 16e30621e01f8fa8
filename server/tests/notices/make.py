"""Notices for tests."""

import asyncio
from datetime import datetime
from uuid import UUID, uuid4

from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.notices.agent_kinds import TelemetryReceived
from guardhouse.notices.publish import publish

ACME = TenantKey(UUID(int=1), 1)
UMBRELLA = TenantKey(UUID(int=2), 2)


def report(agent_id: str = "web-1", accepted: int = 1) -> TelemetryReceived:
    """Return the data of one notice."""
    return TelemetryReceived(agent_id=agent_id, accepted=accepted)


async def say(
    resources: Resources, tenant: TenantKey = ACME, agent_id: str = "web-1", *, n: int = 1, wait: bool = True
) -> None:
    """Publish notices of one subject in one transaction, numbered from 1, and wait until readers may see them."""
    async with tenant_transaction(resources.database, tenant) as tx:
        for number in range(1, n + 1):
            await publish(tx, report(agent_id), tenant_id=tenant.id, subject_seq=number)
        txid = await tx.fetch_value("SELECT pg_current_xact_id()::text::bigint")
    if wait:
        await readable(resources, txid)


async def readable(resources: Resources, txid: int | None = None) -> None:
    """Wait until no older transaction of the server runs: tests of other workers use the same one.

    ``None``: until all that was committed before may be read.
    """
    async with asyncio.timeout(30):
        while True:
            async with system_transaction(resources.database) as tx:
                if txid is None:
                    txid = await tx.fetch_value(
                        "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1"
                    )
                if await tx.fetch_value(
                    "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint > $1", txid
                ):
                    return
            await asyncio.sleep(0.01)


async def insert_old(
    tx: Tx, occurred_at: datetime, number: int, *, txid: int | None = None, tenant: TenantKey = ACME
) -> None:
    """Put a notice into the past, as if published then by transaction ``number``; its day is made."""
    await tx.run("SELECT guardhouse_create_day('notices', ($1 AT TIME ZONE 'UTC')::date)", occurred_at)
    await tx.run(
        "INSERT INTO notices (epoch, txid, id, notice_id, tenant_id, kind, version, severity, subject,"
        " subject_seq, data, correlation_id, occurred_at) VALUES ((SELECT last_value FROM notice_epochs), $1,"
        " $2, $3, $4, 'telemetry.received', 1, 'info', 'agent:old', $2, '{}', '', $5)",
        number if txid is None else txid,
        number,
        uuid4(),
        tenant.id,
        occurred_at,
    )
