"""What a tenant's people confirmed, and what was quiet, becomes its next verdict head.

Invariant: what is read of a process, and how many are read, is bounded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from guardhouse.analysis.risk.act import EXEC_CALLS
from guardhouse.analysis.risk.head import FIRST_JUDGED
from guardhouse.analysis.risk.learn import Run
from guardhouse.analysis.risk.train_head import LEAST_CONFIRMED, LEAST_HARMLESS, JudgedRun, TrainedHead
from guardhouse.audit.record import Actor, Entry, record
from guardhouse.events import read as events_read
from guardhouse.foundation.clock import microseconds
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.scores.baselines.fold import LATE, is_of, warm_until
from guardhouse.scores.heads import store
from guardhouse.scores.heads.store import SHADOW, Judged, StoredHead
from guardhouse.scores.heads.switch import BY
from guardhouse.scores.process_key import key_of

MAX_CONFIRMED: Final = 500
MAX_QUIET: Final = 2_000
MAX_CALLS: Final = 1_000  # of a process: the longest prefix that is trained on has 400


@dataclass(frozen=True, slots=True)
class Picked:
    """Processes to train a head of one alphabet on, each with whether it was confirmed; the version it will have."""

    version: int
    alphabet: str
    judged: list[tuple[Judged, bool]]


async def pick(tx: Tx, tenant_no: int, alphabet: str, times: tuple[datetime, datetime]) -> Picked | None:
    """Return what to train on, begun since one of two instants; None while too few processes are judged.

    What was last seen before the other instant, in a quiet tree, is harmless where nobody has said otherwise.
    """
    confirmed = await store.list_confirmed(tx, tenant_no, alphabet, times[0], FIRST_JUDGED, MAX_CONFIRMED)
    quiet = await _quiet(tx, tenant_no, alphabet, times)
    if len(confirmed) < LEAST_CONFIRMED or len(quiet) < LEAST_HARMLESS:
        return None
    judged = [(process, True) for process in confirmed] + [(process, False) for process in quiet]
    return Picked(await store.next_version(tx, tenant_no), alphabet, judged)


async def keep(tx: Tx, tenant: TenantKey, made: TrainedHead, now: datetime) -> bool:
    """Keep a head in shadow; False when somebody else has made its version meanwhile."""
    head = made.head
    stored = StoredHead(head.version, head.alphabet, SHADOW, made.auc, made.confirmed, made.harmless, now)
    if not await store.add(tx, tenant.no, stored, head.pack()):
        return False
    after = {"alphabet": head.alphabet, "auc": round(made.auc, 4), "state": SHADOW}
    counts = {"confirmed": made.confirmed, "harmless": made.harmless}
    await record(tx, Actor(tenant.id, BY), Entry("head.train", f"head:{head.version}", after=after | counts))
    return True


async def read(tx: Tx, process: Judged, *, confirmed: bool) -> list[JudgedRun]:
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


async def _quiet(tx: Tx, tenant_no: int, alphabet: str, times: tuple[datetime, datetime]) -> Sequence[Judged]:
    """Return processes of a day ago and older whose tree stayed below 20.00."""
    found = await store.list_quiet(tx, tenant_no, alphabet, times, FIRST_JUDGED, MAX_QUIET)
    warm = await warm_until(tx, tenant_no, [(process.agent_no, process.root_key) for process in found])
    return [p for p in found if warm.get((p.agent_no, p.root_key), 0) <= microseconds(p.started_at)]
