"""No-op jobs per second through our engine, beside PgQueuer and Procrastinate, on one durable PostgreSQL.

Each run fills an empty database's queue and then times one worker process until the last job is settled.
Runs are interleaved (A B C A B C), medians count. The peers live in `.venvs/bench-jobs`, which is made from
`locks/bench-jobs.txt` at the first run. Must: as fast as the faster peer; goal: twice as fast.
"""

import asyncio
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import _scratch as scratch
import uvloop
from pydantic import SecretStr

from guardhouse.foundation import migrate
from guardhouse.foundation.jobs import JobContext, enqueue_all, job
from guardhouse.foundation.resources import open_resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.settings import Settings
from guardhouse.worker.loop import Work, run_worker

ROOT = Path(__file__).parents[1]
ROUNDS = 3
MUST, GOAL = 1.0, 2.0
COUNTS = {"ours": 50_000, "pgqueuer": 20_000, "procrastinate": 2_000}
BATCH = 1000
PEERS = ROOT / ".venvs" / "bench-jobs"
ended = 0


@job("bench.noop")
async def noop(_context: JobContext, _payload: dict[str, int]) -> None:
    """Do nothing, and be counted."""
    global ended  # noqa: PLW0603 - one counter of one process
    ended += 1


async def ours(url: str, count: int) -> float:
    """Fill our queue, then time one worker; return seconds."""
    secret = base64.urlsafe_b64encode(bytes(32)).decode()
    settings = Settings(
        database_url=SecretStr(url),
        master_key=SecretStr(secret),
        key_peppers=SecretStr(f"bench:{secret}"),
        worker_metrics_port=0,
        data_dir=Path(tempfile.gettempdir()),
    )
    async with open_resources(settings) as resources:
        for start in range(0, count, BATCH):
            async with system_transaction(resources.database) as tx:
                await enqueue_all(tx, noop, [{"n": 1}] * min(BATCH, count - start))
        stop = asyncio.Event()
        begun = time.perf_counter()
        worker = asyncio.create_task(run_worker(resources, stop, Work([noop], [])))
        while ended < count:  # noqa: ASYNC110 - an event per job would be part of the figure
            await asyncio.sleep(0.002)
        left = 1
        while left:
            async with system_transaction(resources.database) as tx:
                left = await tx.fetch_value("SELECT count(*) FROM jobs")
        taken = time.perf_counter() - begun
        stop.set()
        await worker
    return taken


def install_peers() -> Path:
    """Make the peers' environment if it is not there; return its Python."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", PEERS], check=True)
        lock = ROOT / "locks" / "bench-jobs.txt"
        subprocess.run([python, "-m", "pip", "install", "-q", "--require-hashes", "-r", lock], check=True)
    return python


def rate(program: list[str], server_url: str, count: int, *, migrated: bool) -> float:
    """Run one program on a fresh database; return jobs per second."""
    with scratch.database(server_url) as url:
        if migrated:
            migrate.upgrade(url)
        done = subprocess.run([*program, url, str(count)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{program}:\n{done.stderr[-3000:]}")
    return count / float(done.stdout.split()[-1])


def main() -> int:
    """Print the rounds and one JSON line; 1 when the must is missed."""
    python = str(install_peers())
    peers = str(Path(__file__).with_name("_jobs_peers.py"))
    programs = {
        "ours": [sys.executable, __file__, "ours"],
        "pgqueuer": [python, peers, "pgqueuer"],
        "procrastinate": [python, peers, "procrastinate"],
    }
    rates: dict[str, list[float]] = {name: [] for name in programs}
    with scratch.server() as server_url:
        for number in range(ROUNDS):
            for name, program in programs.items():
                found = rate(program, server_url, COUNTS[name], migrated=name == "ours")
                rates[name].append(found)
            print(f"round {number + 1}: " + "  ".join(f"{name} {rates[name][-1]:,.0f}" for name in rates))
    medians = {name: median(found) for name, found in rates.items()}
    print("median:  " + "  ".join(f"{name} {found:,.0f}" for name, found in medians.items()) + " jobs/s")
    best = max(medians["pgqueuer"], medians["procrastinate"])
    ratio = medians["ours"] / best
    print(json.dumps({"bench": "jobs", "ours": round(medians["ours"]), "anchor": round(best),
                      "ratio": round(ratio, 2), "unit": "jobs/s", "must": MUST, "goal": GOAL, "ok": ratio >= MUST,
                      "pgqueuer": round(medians["pgqueuer"]),
                      "procrastinate": round(medians["procrastinate"])}))  # fmt: skip
    return 0 if ratio >= MUST else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["ours"]:
        os.environ.setdefault("GUARDHOUSE_LOG_LEVEL", "warning")
        uvloop.install()
        print(asyncio.run(ours(sys.argv[2], int(sys.argv[3]))))
    else:
        sys.exit(main())
