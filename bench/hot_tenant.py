"""Reserve on one hot tenant: run, hold, transfer, chain and notice in one commit, beside a Lua reserve on Redis.

`python bench/hot_tenant.py`. 256 callers share one tenant. The anchor keeps a balance and an idempotency key in Redis,
by one script per call, synced every second: no run, no books, no notice, and up to a second of it lost with the power.
Then runs end to end with the cheapest pack. The books are verified: a difference of a hundredth of a cent ends it all.
"""

import asyncio
import contextlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator

from _kit import Platform, finish, free_port, platform, wait_for_port
from redis.asyncio import BlockingConnectionPool, Redis

from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.identity import tenants
from guardhouse.identity.store import Tenant
from guardhouse.ledger.deposit import Payment, deposit
from guardhouse.ledger.verify import verify
from guardhouse.runs import jobs
from guardhouse.runs.admit import Asked, admit
from guardhouse.runs.plan import terms_of
from guardhouse.runs.submit import Submitter, Wanted
from guardhouse.runs.wire import RunRequest
from guardhouse.usage import plans

CALLERS = 256
SECONDS = 5.0
ROUNDS = 3
RUNS = 2_000
AMOUNT = 20_000
RESERVE = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 2 end
local left = tonumber(redis.call('GET', KEYS[1]) or '0')
if left < tonumber(ARGV[1]) then return 0 end
redis.call('DECRBY', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], ARGV[2], 'EX', 86400)
return 1
"""
BODY = RunRequest(
    pack_type="decision", inputs={"question": "Postgres or MySQL?", "mode": "brief"}, max_cost_usd="0.02"
)


@contextlib.contextmanager
def redis() -> Iterator[int]:
    """Run a Redis that appends every write to its file and syncs it each second; gives its port."""
    program = shutil.which("redis-server")
    if program is None:
        sys.exit("redis-server is not installed")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="guardhouse-bench-") as folder:
        words = ["--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
        words += ["--appendonly", "yes", "--appendfsync", "everysec"]
        process = subprocess.Popen([program, *words], stdout=subprocess.DEVNULL)
        try:
            wait_for_port(port)
            yield port
        finally:
            process.terminate()
            process.wait()


async def callers(call: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Return calls a second of all callers, and the 99th percentile of a call in milliseconds."""
    until = time.perf_counter() + SECONDS
    times: list[float] = []

    async def one() -> None:
        while (began := time.perf_counter()) < until:
            await call()
            times.append((time.perf_counter() - began) * 1_000)

    await asyncio.gather(*(one() for _ in range(CALLERS)))
    return len(times) / SECONDS, statistics.quantiles(times, n=100)[98]


def wanted(resources: Resources) -> Wanted:
    """Return one run to take in, as the route makes it."""
    key = str(new_id())
    asked = Asked(key, key.encode(), "bench")
    run, hold = admit(BODY, asked, terms_of("premium", 1), new_id(), resources.clock.now())
    return Wanted(run, hold, lambda left: b'{"left":%d}' % left, None, "bench")


async def rich(resources: Resources, slug: str) -> Tenant:
    """Make a tenant with more money than the bench can hold."""
    async with system_transaction(resources.database) as tx:
        tenant = await tenants.create_tenant(tx, resources.clock, slug, slug)
    async with tenant_transaction(resources.database, tenant.key) as tx:
        for _ in range(100):
            paid = Payment("bench", str(new_id()), 10_000_000_000)
            await deposit(tx, tenant.id, paid, "bench", new_id(), resources.clock.now())
    return tenant


async def whole(resources: Resources, tenant: Tenant) -> None:
    """End the bench if the books are not whole."""
    async with tenant_transaction(resources.database, tenant.key) as tx:
        began = time.perf_counter()
        found = await verify(tx, tenant.id)
    if found.faults:
        sys.exit(f"the books are not whole: {found.faults}")
    print(f"{found.transfers} transfers verified in {time.perf_counter() - began:.2f} s, difference zero")


async def measure(made: Platform, port: int) -> None:
    """Measure reserves in turns with the anchor, then runs end to end."""
    ours, theirs, slowest = [], [], []
    async with made.resources() as resources:
        tenant = await rich(resources, "hot")
        submitter = Submitter(resources)
        client = Redis(
            connection_pool=BlockingConnectionPool(host="127.0.0.1", port=port, max_connections=32)
        )
        await client.set("balance", 10**15)
        script = client.register_script(RESERVE)
        for _ in range(ROUNDS):
            rate, p99 = await callers(lambda: submitter.submit(tenant.key, wanted(resources)))
            ours.append(rate)
            slowest.append(p99)
            rate, _ = await callers(lambda: script(keys=["balance", str(new_id())], args=[AMOUNT, "x"]))
            theirs.append(rate)
        await client.aclose()
        await whole(resources, tenant)
        ended = [await end_to_end(resources, f"work-{number}") for number in range(ROUNDS)]
    finish("runs_end_to_end", ended, [], "runs/s", must=1_000, goal=3_000, on="ours")
    finish("reserve_hot_tenant_p99", slowest, [], "ms", must=30, on="ours", better="lower")
    finish("reserve_hot_tenant", ours, theirs, "submits/s", must=1.0, goal=2.0)


async def end_to_end(resources: Resources, slug: str) -> float:
    """Return runs a second from the first claim to the last end of runs that are queued, with one worker."""
    tenant = await rich(resources, slug)
    async with system_transaction(resources.database) as tx:
        await plans.set_plan_of(tx, resources.clock, tenant.id, "premium")
    submitter = Submitter(resources)
    await asyncio.gather(*(submitter.submit(tenant.key, wanted(resources)) for _ in range(RUNS)))
    stop = asyncio.Event()
    began = time.perf_counter()
    worker = asyncio.create_task(jobs.work_runs(resources, stop))
    while await open_runs(resources, tenant):  # noqa: ASYNC110 - what is waited for is in the database
        await asyncio.sleep(0.05)
    seconds = time.perf_counter() - began
    stop.set()
    await worker
    await whole(resources, tenant)
    return RUNS / seconds


async def open_runs(resources: Resources, tenant: Tenant) -> int:
    """Return how many runs of a tenant have not ended."""
    async with system_transaction(resources.database) as tx:
        found = await tx.fetch_value("SELECT count(*) FROM runs WHERE tenant_id = $1 AND is_open", tenant.id)
    number: int = found
    return number


def main() -> None:
    """Measure on a database and a Redis of its own."""
    with platform() as made, redis() as port:
        made.psql("INSERT INTO plans VALUES ('premium', NULL, NULL, 1) ON CONFLICT DO NOTHING")
        asyncio.run(measure(made, port))


if __name__ == "__main__":
    main()
