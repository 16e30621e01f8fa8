"""What a tenant's people confirmed, and what was quiet, becomes its next verdict head.

Invariants: each transaction reads little; none is held while training thinks.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from guardhouse.analysis.risk.act import EXEC_CALLS
from guardhouse.analysis.risk.head import FIRST_JUDGED
from guardhouse.analysis.risk.learn import Run
from guardhouse.analysis.risk.train_head import LEAST_CONFIRMED, LEAST_HARMLESS, JudgedRun, train_head
from guardhouse.audit.record import Actor, Entry, record
from guardhouse.events import read as events_read
from guardhouse.foundation.clock import microseconds
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import tenant_transaction
from guardhouse.scores.baselines.fold import LATE, is_of, warm_until
from guardhouse.scores.heads import store
from guardhouse.scores.heads.store import SHADOW, Judged, StoredHead
from guardhouse.scores.heads.switch import BY
from guardhouse.scores.process_key import key_of

MAX_CONFIRMED: Final = 500
MAX_QUIET: Final = 2_000
MAX_CALLS: Final = 1_000  # of a process: the longest prefix that is trained on has 400
PROCESSES_A_READ: Final = 50
WAIT: Final = timedelta(hours=24)


async def train(resources: Resources, tenant: TenantKey, alphabet: str) -> StoredHead | None:
    """Train a head of one alphabet and keep it in shadow; None while too few processes are judged."""
    now = resources.clock.now()
    since = now - timedelta(days=resources.settings.events_retention_days)
    async with tenant_transaction(resources.database, tenant) as tx:
        confirmed = await store.list_confirmed(tx, tenant.no, alphabet, since, FIRST_JUDGED, MAX_CONFIRMED)
        quiet = await _quiet(tx, tenant.no, alphabet, (since, now - WAIT))
        version = await store.next_version(tx, tenant.no)
    if len(confirmed) < LEAST_CONFIRMED or len(quiet) < LEAST_HARMLESS:
        return None
    judged = [(process, True) for process in confirmed] + [(process, False) for process in quiet]
    runs: list[JudgedRun] = []
    for first in range(0, len(judged), PROCESSES_A_READ):
        async with tenant_transaction(resources.database, tenant) as tx:
            for process, bad in judged[first : first + PROCESSES_A_READ]:
                runs += await _runs(tx, process, confirmed=bad)
    made = await asyncio.to_thread(train_head, runs, version, alphabet)
    if made is None:
        return None
    head = StoredHead(version, alphabet, SHADOW, made.auc, made.confirmed, made.harmless, now)
    async with tenant_transaction(resources.database, tenant) as tx:
        if not await store.add(tx, tenant.no, head, made.head.pack()):
            return None  # somebody else trained meanwhile
        after = {"alphabet": alphabet, "auc": round(made.auc, 4), "state": SHADOW}
        counts = {"confirmed": made.confirmed, "harmless": made.harmless}
        await record(tx, Actor(tenant.id, BY), Entry("head.train", f"head:{version}", after=after | counts))
    return head


async def _quiet(tx: Tx, tenant_no: int, alphabet: str, times: tuple[datetime, datetime]) -> Sequence[Judged]:
    """Return processes of a day ago and older whose tree stayed below 20.00."""
    found = await store.list_quiet(tx, tenant_no, alphabet, times, FIRST_JUDGED, MAX_QUIET)
    warm = await warm_until(tx, tenant_no, [(process.agent_no, process.root_key) for process in found])
    return [p for p in found if warm.get((p.agent_no, p.root_key), 0) <= microseconds(p.started_at)]


async def _runs(tx: Tx, process: Judged, *, confirmed: bool) -> list[JudgedRun]:
    """Return what a process did, program by program, as the engine shows it to a head: anew after each exec."""
    key = key_of(process.key)
    positions = (process.first_position - 1, process.last_position)
    times = (process.started_at - LATE, process.last_seen)
    events = await events_read.read_process(tx, process.agent_no, key.pid, positions, times, MAX_CALLS)
    runs = [Run("", "", "")]
    for event in events:
        if is_of(event, key):
            runs[-1].add(event)
            if (event.kind == "exec" or event.call in EXEC_CALLS) and not event.failed:
                runs.append(Run("", "", ""))
    group = f"{process.agent_no}:{process.root_key}"  # a tree is not split
    seen = [tuple(run.grams[:MAX_CALLS]) for run in runs]
    return [JudgedRun(group, grams, confirmed) for grams in seen if len(grams) >= FIRST_JUDGED]
