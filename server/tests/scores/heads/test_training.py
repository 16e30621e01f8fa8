"""Training from what people confirmed and what was quiet: not with too few, and with enough a head in shadow."""

from datetime import datetime, timedelta

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from server.tests.components.hosts import Host, score_everything
from server.tests.ingest.make import Door
from server.tests.scores.heads.make import calls_of, run_daily, states

QUIET = ("read", "write", "close", "fstat", "mmap", "lseek")
BAD = ("socket", "bind", "getpid", "dup2", "pipe", "kill")
A_BATCH = 80


def some(number: int, names: tuple[str, ...]) -> list[str]:
    """Return twelve calls that no other number has."""
    return [names[number // len(names) ** (n % 4) % len(names)] for n in range(12)]


async def lived(host: Host, resources: Resources, at: datetime, quiet: int, bad: int) -> None:
    events = []
    for number in range(quiet + bad):
        names = some(number, QUIET if number < quiet else BAD)
        events.append(calls_of(1000 + number, names, at, 100 * number))
    for first in range(0, len(events), A_BATCH):
        await host.accepted([event for process in events[first : first + A_BATCH] for event in process])
    await score_everything(resources)


async def confirm(door: Door, pid: int) -> None:
    path = f"/api/v1/processes/web-1:{pid}:1/verdict"
    answer = await door.post(path, {"verdict": "confirmed"})
    assert answer.status_code == 201, answer.text


async def test_it_is_trained_from_fifty_confirmed_and_five_hundred_quiet_and_not_from_fewer(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    await lived(host, resources, clock.now() - timedelta(hours=30), 500, 50)
    for number in range(49):
        await confirm(door, 1500 + number)
    await run_daily(resources)
    assert await states(door) == {}  # 49 of 50, and 501
    await confirm(door, 1549)
    await door.behind.execute("UPDATE processes SET calls = 9 WHERE pid = 1000")
    await run_daily(resources)
    assert await states(door) == {}  # 50, and 499 of 500
    await door.behind.execute("UPDATE processes SET calls = 12 WHERE pid = 1000")
    await run_daily(resources)
    assert await states(door) == {1: "shadow"}
    (head,) = await door.rows("SELECT auc, confirmed, harmless, alphabet FROM risk_heads")
    assert (head["confirmed"], head["harmless"], head["alphabet"]) == (50, 500, "native.v1")
    assert head["auc"] > 0.99
    (entry,) = await door.rows("SELECT actor FROM audit_log WHERE action = 'head.train'")
    assert entry["actor"] == "system:heads"
    await run_daily(resources)
    assert await states(door) == {1: "shadow"}  # no second one within its week


async def test_what_happened_within_a_day_is_not_taken_as_quiet(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    await lived(host, resources, clock.now() - timedelta(hours=23), 500, 50)
    for number in range(50):
        await confirm(door, 1500 + number)
    await run_daily(resources)
    assert await states(door) == {}
