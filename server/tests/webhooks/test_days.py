"""The days of messages, deliveries and attempts: there before they are needed, gone after thirty."""

from datetime import UTC, datetime, timedelta

from guardhouse.foundation.jobs import ClaimedJob, JobContext
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.webhooks import lane_store, lanes
from guardhouse.webhooks.jobs import keep_partitions
from server.tests.webhooks import make


async def keep(resources: Resources) -> None:
    """Run the schedule once."""
    run_at = datetime(2026, 1, 1, tzinfo=UTC)
    await keep_partitions.run(
        JobContext(resources, ClaimedJob(1, "x", "null", None, "platform", 1, 0, run_at, ""))
    )


async def test_days_come_a_week_ahead_and_go_after_thirty(resources: Resources) -> None:
    today = resources.clock.now().date()
    async with system_transaction(resources.database) as tx:
        for parent in lane_store.PARTITIONED:
            for age in (lanes.DAYS_KEPT, lanes.DAYS_KEPT + 1):
                await lane_store.create_day(tx, parent, today - timedelta(days=age))
    for _ in range(2):  # the second time there is nothing to do
        await keep(resources)
        for parent in lane_store.PARTITIONED:
            async with system_transaction(resources.database) as tx:
                days = await lane_store.list_days(tx, parent)
            assert days[0] == today - timedelta(days=lanes.DAYS_KEPT)
            assert {today + timedelta(days=step) for step in range(-1, lanes.DAYS_AHEAD + 1)} <= set(days)
    assert await make.states(resources) == {}
