import asyncio
import time
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest
import pytest_asyncio

from guardhouse.foundation.wake import Wake
from server.tests.components.postgres import Clone


@pytest_asyncio.fixture
async def wake(database: Clone) -> AsyncIterator[Wake]:
    found = Wake(database.database_url.replace("+asyncpg", ""))
    yield found
    await found.close()


@pytest_asyncio.fixture
async def superuser(database: Clone) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database.superuser_url)
    yield connection
    await connection.close()


async def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


CUT = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name = 'guardhouse-wake' AND datname = current_database()"""


async def test_a_notify_arrives_with_its_payload(
    wake: Wake, superuser: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    got: list[str] = []
    wake.subscribe("identity", got.append)
    await until(lambda: wake.connected)
    assert got == [""]  # whatever was sent while nobody listened
    await superuser.execute("SELECT pg_notify('identity', '7')")
    await until(lambda: got == ["", "7"])


async def test_a_second_channel_joins_without_a_gap_on_the_first(
    wake: Wake, superuser: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    first: list[str] = []
    wake.subscribe("identity", first.append)
    await until(lambda: wake.connected)
    for number in range(20):
        later: list[str] = []
        wake.subscribe(f"channel_{number}", later.append)
        await superuser.execute(f"SELECT pg_notify('identity', '{number}')")
        await until(lambda later=later: "" in later)  # type: ignore[misc] # bound now
        await superuser.execute(f"SELECT pg_notify('channel_{number}', 'x')")
        await until(lambda later=later: later[-1] == "x")  # type: ignore[misc] # bound now
    assert first == ["", *map(str, range(20))]
    assert wake.connected


async def test_channels_that_are_named_while_it_connects_are_all_heard(
    wake: Wake, superuser: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    got: dict[str, list[str]] = {f"c{n}": [] for n in range(30)}
    for name, heard in got.items():
        wake.subscribe(name, heard.append)
        await asyncio.sleep(0.001)
    await until(lambda: all(heard == [""] for heard in got.values()))
    for name in got:
        await superuser.execute(f"SELECT pg_notify('{name}', '1')")
    await until(lambda: all(heard == ["", "1"] for heard in got.values()))


async def test_a_cut_is_told_at_once_and_mended_with_a_catch_up(
    wake: Wake, superuser: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    got: list[str] = []
    wake.subscribe("identity", got.append)
    await until(lambda: wake.connected)
    await superuser.execute(CUT)
    await until(lambda: got == ["", ""])
    await until(lambda: wake.connected)
    await superuser.execute("SELECT pg_notify('identity', '8')")
    await until(lambda: got == ["", "", "8"])


async def test_a_silent_connection_counts_as_deaf_within_a_second(
    wake: Wake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A black hole (no reset, no answer) is told by the missing answer; here PostgreSQL is made to keep silent."""
    wake.subscribe("identity", lambda _payload: None)
    await until(lambda: wake.connected)

    async def silent(*_args: object, **_named: object) -> str:
        await asyncio.sleep(5)
        return ""

    monkeypatch.setattr(asyncpg.Connection, "execute", silent)
    began = time.monotonic()
    await until(lambda: not wake.connected, 3)
    assert time.monotonic() - began < 1.6


async def test_a_listener_that_fails_does_not_end_the_others(
    wake: Wake, superuser: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    def fail(_payload: str) -> None:
        failures.append(1)
        if len(failures) == 1:
            raise RuntimeError("first")

    failures: list[int] = []
    got: list[str] = []
    wake.subscribe("a", fail)
    wake.subscribe("b", got.append)
    await until(lambda: "" in got)
    await superuser.execute("SELECT pg_notify('b', '1')")
    await until(lambda: "1" in got)


async def test_an_ended_subscription_hears_nothing_more(
    wake: Wake, superuser: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    gone: list[str] = []
    kept: list[str] = []
    stop = wake.subscribe("identity", gone.append)
    wake.subscribe("identity", kept.append)
    await until(lambda: kept == [""])
    stop()
    stop()
    await superuser.execute("SELECT pg_notify('identity', '1')")
    await until(lambda: kept == ["", "1"])
    assert gone == [""]


async def test_a_database_that_is_away_is_tried_again_and_closing_is_quick() -> None:
    lost = Wake("postgresql://nobody@127.0.0.1:1/none")
    lost.subscribe("identity", lambda _payload: None)
    await asyncio.sleep(0.05)
    assert not lost.connected
    await asyncio.wait_for(lost.close(), 1)
    await lost.close()
    await Wake("postgresql://nobody@127.0.0.1:1/none").close()


async def test_closing_at_the_moment_of_a_new_channel_ends_it(wake: Wake) -> None:
    wake.subscribe("first", lambda _payload: None)
    await until(lambda: wake.connected)
    wake.subscribe("second", lambda _payload: None)
    await asyncio.wait_for(wake.close(), 10)
