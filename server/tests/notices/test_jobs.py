from datetime import UTC, datetime, timedelta

from guardhouse.foundation.jobs import ClaimedJob, JobContext
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.notices import read, store
from guardhouse.notices.jobs import DAYS_AHEAD, keep_partitions
from guardhouse.notices.read import Position
from server.tests.notices.make import insert_old, say


async def days(resources: Resources) -> list[str]:
    async with system_transaction(resources.database) as tx:
        rows = await tx.fetch(
            "SELECT right(inhrelid::regclass::text, 8) AS day FROM pg_inherits"
            " WHERE inhparent = 'notices'::regclass ORDER BY 1"
        )
    return [row["day"] for row in rows]


async def keep(resources: Resources) -> None:
    run_at = datetime(2026, 1, 1, tzinfo=UTC)
    await keep_partitions.run(
        JobContext(resources, ClaimedJob(1, "x", "null", None, "platform", 1, 0, run_at, ""))
    )


async def test_days_come_ahead_and_are_there_from_the_start(resources: Resources) -> None:
    today = resources.clock.now().date()
    wanted = [(today + timedelta(days=step)).strftime("%Y%m%d") for step in range(-1, DAYS_AHEAD + 1)]
    assert set(wanted[:2]) <= set(await days(resources)), "the migration made today"
    await keep(resources)
    assert set(wanted) <= set(await days(resources))
    await keep(resources)


async def test_a_day_goes_after_thirty_and_its_last_position_is_remembered(resources: Resources) -> None:
    now = resources.clock.now()
    async with system_transaction(resources.database) as tx:
        epoch = await tx.fetch_value("SELECT last_value FROM notice_epochs")
        await insert_old(tx, now - timedelta(days=33), 1)
        await insert_old(tx, now - timedelta(days=32), 2)
        await insert_old(tx, now - timedelta(days=29), 3)
    await keep(resources)
    await say(resources)
    oldest = (now - timedelta(days=29)).strftime("%Y%m%d")
    assert min(await days(resources)) == oldest
    async with system_transaction(resources.database) as tx:
        cursor = await tx.fetch_row(
            "SELECT epoch, txid, id FROM notice_cursors WHERE reader = $1", store.DROPPED
        )
        assert cursor is not None
        assert tuple(cursor) == (epoch, 2, 2)
        _, reset = await read.resume_at(tx, Position(epoch, 1, 1), now)
        assert reset
