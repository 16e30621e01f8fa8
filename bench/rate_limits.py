"""One decision over two policies of a key (minute and day): in process and on Redis, beside the `limits` library.

`python bench/rate_limits.py`. The library decides one policy at a time, with one round trip each.
"""

import asyncio
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator

from _kit import finish, free_port, wait_for_port
from limits import RateLimitItemPerDay, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

from guardhouse.usage.local_windows import LocalWindows
from guardhouse.usage.policy import Policy, day, minute
from guardhouse.usage.redis_windows import RedisWindows

KEYS = 1000
DECISIONS = 20_000
ROUNDS = 5
REDIS_DECISIONS = 3000
MINUTE, DAY = RateLimitItemPerMinute(60), RateLimitItemPerDay(10_000)


def policies(number: int) -> list[Policy]:
    """Return the limits of one key."""
    return [minute("minute", f"key:{number}", 60, "t"), day("day", f"key:{number}", 10_000, "t")]


def ours_in_process(known: list[list[Policy]]) -> float:
    """Return microseconds of CPU per decision."""
    windows = LocalWindows()
    began = time.process_time()
    for number in range(DECISIONS):
        windows.take(known[number % KEYS])
    return (time.process_time() - began) / DECISIONS * 1e6


async def theirs_in_process() -> float:
    """Return microseconds of CPU per decision of two policies."""
    limiter = MovingWindowRateLimiter(MemoryStorage())
    began = time.process_time()
    for number in range(DECISIONS):
        await limiter.hit(MINUTE, str(number % KEYS))
        await limiter.hit(DAY, str(number % KEYS))
    return (time.process_time() - began) / DECISIONS * 1e6


async def each(decide: Callable[[int], Awaitable[object]]) -> list[float]:
    """Return the milliseconds of decisions made one after the other."""
    found = []
    for number in range(REDIS_DECISIONS):
        began = time.perf_counter()
        await decide(number % KEYS)
        found.append((time.perf_counter() - began) * 1000)
    return found


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """Run a Redis on a free port; gives its URL."""
    program = shutil.which("redis-server")
    if program is None:
        sys.exit("redis-server is not installed")
    port = free_port()
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for_port(port)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


async def on_redis(url: str, known: list[list[Policy]]) -> tuple[list[float], list[float], int]:
    """Return the times of ours and of theirs, and how many of ours did not come within the time-out."""
    windows = RedisWindows(url)
    await windows.connect()
    late = 0

    async def take(number: int) -> None:
        nonlocal late
        try:
            await windows.take(known[number])
        except TimeoutError:
            late += 1

    limiter = MovingWindowRateLimiter(RedisStorage(f"async+{url}", implementation="redispy"))

    async def hit(number: int) -> None:
        await limiter.hit(MINUTE, str(number))
        await limiter.hit(DAY, str(number))

    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours += await each(take)
        theirs += await each(hit)
    await windows.close()
    return ours, theirs, late


def p99(times: list[float]) -> float:
    """Return the 99th percentile."""
    return statistics.quantiles(times, n=100)[98]


def main() -> None:
    """Measure both and print a line for each."""
    known = [policies(number) for number in range(KEYS)]
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(ours_in_process(known))
        theirs.append(asyncio.run(theirs_in_process()))
    print(f"in process: {statistics.median(ours):.2f} µs, `limits` {statistics.median(theirs):.2f} µs")
    with redis() as url:
        mine, other, late = asyncio.run(on_redis(url, known))
    print(
        f"on Redis: p50 {statistics.median(mine):.3f} ms, p99 {p99(mine):.3f} ms, {late} of {len(mine)} too late;"
        f" `limits` p50 {statistics.median(other):.3f} ms, p99 {p99(other):.3f} ms"
    )
    print(json.dumps({"redis_late": late}))
    finish(
        "rate_limit_redis_p99", [p99(mine)], [p99(other)], "ms", must=2.0, goal=1.0, on="ours", better="lower"
    )
    finish("rate_limit_decision", ours, theirs, "µs", must=5.0, goal=2.0, on="ours", better="lower")


if __name__ == "__main__":
    main()
