import asyncio

from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction

PATIENCE_SECONDS = 30.0


class Ear:
    def __init__(self) -> None:
        self.heard: asyncio.Queue[str] = asyncio.Queue()

    def __call__(self, payload: str) -> None:
        self.heard.put_nowait(payload)

    async def wait_for(self, payload: str) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.heard.get() != payload:
                pass


async def tell(resources: Resources, channel: str, payload: str) -> None:
    async with system_transaction(resources.database) as tx:
        await tx.run("SELECT pg_notify($1, $2)", channel, payload)


async def listeners(resources: Resources) -> list[int]:
    async with system_transaction(resources.database) as tx:
        rows = await tx.fetch(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'guardhouse-wake'"
            " AND datname = current_database()"
        )
    return [row["pid"] for row in rows]


async def test_a_channel_added_later_is_heard_and_the_connection_then_stays(resources: Resources) -> None:
    first, second = Ear(), Ear()
    resources.wake.subscribe("test_first", first)
    await first.wait_for("")
    resources.wake.subscribe("test_second", second)
    await second.wait_for("")
    pids = await listeners(resources)
    for number in range(20):
        await tell(resources, "test_first", str(number))
        await first.wait_for(str(number))
        await tell(resources, "test_second", str(number))
        await second.wait_for(str(number))
        await asyncio.sleep(0.01)
    assert await listeners(resources) == pids
    assert len(pids) == 1
    assert second.heard.empty(), "a reconnection would have woken it once more"


async def test_a_lost_connection_is_made_again_and_everyone_is_woken(resources: Resources) -> None:
    ear = Ear()
    resources.wake.subscribe("test_first", ear)
    await ear.wait_for("")
    (pid,) = await listeners(resources)
    async with system_transaction(resources.database) as tx:
        await tx.run("RESET ROLE")
        await tx.run("SELECT pg_terminate_backend($1)", pid)
    await ear.wait_for("")
    assert resources.wake.connected
    await tell(resources, "test_first", "again")
    await ear.wait_for("again")


async def test_who_left_hears_nothing(resources: Resources) -> None:
    gone, there = Ear(), Ear()
    leave = resources.wake.subscribe("test_first", gone)
    resources.wake.subscribe("test_first", there)
    await there.wait_for("")
    leave()
    await tell(resources, "test_first", "news")
    await there.wait_for("news")
    assert "news" not in [gone.heard.get_nowait() for _ in range(gone.heard.qsize())]


async def test_closing_while_it_reconnects_ends_it(resources: Resources) -> None:
    ear = Ear()
    resources.wake.subscribe("test_first", ear)
    await ear.wait_for("")
    for number in range(20):
        resources.wake.subscribe(f"test_more_{number}", ear)  # asks it to reconnect, at the moment of closing
        if number % 2:
            await asyncio.sleep(0)
    await asyncio.wait_for(resources.wake.close(), PATIENCE_SECONDS)
