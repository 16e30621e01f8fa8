import asyncio
from datetime import date, timedelta

import asyncpg
import pytest

from guardhouse.events import partitions, store
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from server.tests.identity import make

TODAY = date(2020, 2, 28)  # far from what other tests make


async def days(resources: Resources, parent: str = "process_events") -> set[date]:
    async with system_transaction(resources.database) as tx:
        return {day for day in await store.list_days(tx, parent) if day.year == TODAY.year}


async def drop_all(resources: Resources) -> None:
    for parent in partitions.PARENTS:
        for day in await days(resources, parent):
            async with system_transaction(resources.database) as tx:
                await partitions.drop_day(tx, parent, day)


async def test_days_are_made_once_and_dropped_past_retention(resources: Resources) -> None:
    await drop_all(resources)
    async with system_transaction(resources.database) as tx:
        made = await partitions.ensure_days(tx, TODAY, ["process_events"])
        assert made == len(partitions.wanted_days("process_events", TODAY))
        assert await partitions.ensure_days(tx, TODAY, ["process_events"]) == 0
    present = await days(resources)
    assert TODAY in present
    assert date(2020, 2, 29) in present
    assert max(present) == TODAY + timedelta(days=7)
    async with system_transaction(resources.database) as tx:
        later = TODAY + timedelta(days=30)
        expired = [
            d for d in await partitions.expired_days(tx, "process_events", later, 30) if d.year == 2020
        ]
    assert expired == sorted(day for day in present if day < TODAY)
    await drop_all(resources)
    assert await days(resources) == set()


async def test_retention_never_drops_a_day_that_may_still_be_written(resources: Resources) -> None:
    async with system_transaction(resources.database) as tx:
        await partitions.ensure_days(tx, TODAY, ["process_events"])
        expired = await partitions.expired_days(tx, "process_events", TODAY, 1)
    assert not set(expired) & set(partitions.wanted_days("process_events", TODAY))
    await drop_all(resources)


async def test_several_makers_at_once_do_not_fail(resources: Resources) -> None:
    await drop_all(resources)

    async def ensure() -> int:
        async with system_transaction(resources.database) as tx:
            return await partitions.ensure_days(tx, TODAY, ["process_events"])

    made = await asyncio.gather(*(ensure() for _ in range(4)))
    assert sum(made) == len(partitions.wanted_days("process_events", TODAY))
    await drop_all(resources)


async def test_dropping_an_absent_day_is_no_error(resources: Resources) -> None:
    async with system_transaction(resources.database) as tx:
        assert not await store.drop_day(tx, "process_events", date(1999, 1, 1))


@pytest.mark.parametrize("parent", ["tenants", "nothing", "pg_class", "tenants; DROP TABLE tenants"])
async def test_only_partitioned_tables_have_days(resources: Resources, parent: str) -> None:
    with pytest.raises(asyncpg.PostgresError):
        async with system_transaction(resources.database) as tx:
            await store.create_day(tx, parent, TODAY)


async def test_tenants_make_and_drop_no_days(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    for function in ("guardhouse_create_day", "guardhouse_drop_day"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with tenant_transaction(resources.database, tenant.key) as tx:
                await tx.fetch_value(f"SELECT {function}('process_events', $1)", TODAY)
