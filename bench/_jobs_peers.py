"""One peer of `jobs.py`, run in the peers' own environment: fill its queue, then time one worker emptying it.

usage: _jobs_peers.py pgqueuer|procrastinate <postgresql URL> <jobs>
Prints the seconds from the start of the worker to the last job settled in the database.
"""

import asyncio
import sys
import time

import asyncpg
import uvloop

BATCH = 1000


async def pgqueuer(url: str, count: int) -> float:
    """Run PgQueuer as its benchmark does: drain mode, asyncpg; the batch size was the best of 10, 100 and 500."""
    from pgqueuer import PgQueuer  # type: ignore[import-not-found] # noqa: PLC0415 - only in the peers' environment
    from pgqueuer.db import AsyncpgPoolDriver  # type: ignore[import-not-found] # noqa: PLC0415
    from pgqueuer.types import QueueExecutionMode  # type: ignore[import-not-found] # noqa: PLC0415

    async with asyncpg.create_pool(url, min_size=4, max_size=10) as pool:
        engine = PgQueuer(AsyncpgPoolDriver(pool))
        await engine.qm.queries.install()

        @engine.entrypoint("noop")  # type: ignore[untyped-decorator] # the peer is not installed here
        async def noop(_job: object) -> None:
            pass

        for start in range(0, count, BATCH):
            size = min(BATCH, count - start)
            await engine.qm.queries.enqueue(["noop"] * size, [b'{"n":1}'] * size, [0] * size)
        begun = time.perf_counter()
        await engine.run(batch_size=100, mode=QueueExecutionMode.drain)
        taken = time.perf_counter() - begun
        left = await pool.fetchval("SELECT count(*) FROM pgqueuer")
    return check(taken, left)


async def procrastinate(url: str, count: int) -> float:
    """Run Procrastinate with its psycopg connector and finished jobs deleted, as ours are."""
    from procrastinate import App, PsycopgConnector  # type: ignore[import-not-found] # noqa: PLC0415 - as above

    app = App(connector=PsycopgConnector(conninfo=url, min_size=4, max_size=10))

    @app.task(name="noop")  # type: ignore[untyped-decorator] # as above
    async def noop(n: int) -> None:
        pass

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for start in range(0, count, BATCH):
            await noop.batch_defer_async(*({"n": 1} for _ in range(min(BATCH, count - start))))
        begun = time.perf_counter()
        await app.run_worker_async(
            concurrency=50, wait=False, delete_jobs="always", install_signal_handlers=False
        )
        taken = time.perf_counter() - begun
    connection = await asyncpg.connect(url)
    left = await connection.fetchval("SELECT count(*) FROM procrastinate_jobs")
    await connection.close()
    return check(taken, left)


def check(taken: float, left: int) -> float:
    """Return the time, unless the queue was not emptied."""
    if left:
        raise SystemExit(f"{left} jobs were left")
    return taken


if __name__ == "__main__":
    peers = {"pgqueuer": pgqueuer, "procrastinate": procrastinate}
    uvloop.install()
    print(asyncio.run(peers[sys.argv[1]](sys.argv[2], int(sys.argv[3]))))
