"""One step of learning: some ended runs of a group become the next version of its baselines.

Invariants: a run is counted once, whole or in parts, with the version that counts it; what a step reads is
bounded; no transaction is held while it thinks. Two who learn the same group at once: the later one begins anew.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from guardhouse.analysis.risk.effects import RunEnd
from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import ProcessKey, RiskEvent
from guardhouse.analysis.risk.learn import Run, halve, learn, run_name
from guardhouse.analysis.risk.profile import Baseline, ProfileSet
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.analysis.risk.surprise import CallCounts
from guardhouse.events import read as events_read
from guardhouse.foundation.clock import microseconds
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.scores.baselines import store
from guardhouse.scores.baselines.history import EVERYONE, profile_id
from guardhouse.scores.baselines.store import StoredBaseline, StoredRun
from guardhouse.scores.process_key import key_of

RUNS_AT_ONCE: Final = 1_000
CALLS_AT_ONCE: Final = 100_000
CHUNK: Final = 5_000
LATE: Final = timedelta(days=1)  # how much earlier than its run a late event may have happened
LOSS_PARTS: Final = 100  # a run that lost one event in so many is not learned
HALVED_AT_ONCE: Final = 50


class VersionTaken(Exception):  # noqa: N818 - tells the caller to begin anew
    """Somebody else has made this version meanwhile; nothing was written."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to learn: runs of a group that ended before an instant. ``vouched``: whatever their risk was."""

    tenant: TenantKey
    group: str
    ended_before: datetime
    vouched: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A run, or a part of it, ready to be learned; with it the run is learned up to ``to``."""

    stored: StoredRun
    run: Run
    to: int


@dataclass(frozen=True, slots=True)
class Before:
    """The programs that a step changes as they were, at the group's newest version."""

    version: int
    profiles: ProfileSet
    halved_at: dict[tuple[str, str], datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Learned:
    """What one step learned; ``version`` is the one it made."""

    group: str
    version: int
    learned_at: datetime
    learned_by: str
    programs: int
    runs: int
    calls: int


async def pick(tx: Tx, wanted: Wanted) -> list[StoredRun]:
    """Return runs that may be learned, at most 1,000; notes why others may not."""
    tenant_no = wanted.tenant.no
    if not wanted.vouched:
        await store.leave_out_incidents(tx, tenant_no, wanted.group, wanted.ended_before)
    while True:
        waiting = await store.list_waiting(
            tx, tenant_no, wanted.group, wanted.ended_before, RUNS_AT_ONCE, vouched=wanted.vouched
        )
        warm = (
            {}
            if wanted.vouched
            else await warm_until(tx, tenant_no, [(run.agent_no, run.root_key) for run in waiting])
        )
        reasons = [_reason(run, warm, vouched=wanted.vouched) for run in waiting]
        for reason in ("loss", "risk"):
            left = [run for run, why in zip(waiting, reasons, strict=True) if why == reason]
            await store.leave_out(tx, tenant_no, left, reason)
        picked = [run for run, why in zip(waiting, reasons, strict=True) if why is None]
        if picked or not waiting:
            return picked


def _reason(run: StoredRun, warm: dict[tuple[int, str], int], *, vouched: bool) -> str | None:
    """Return why a run must not be learned: lost events, or a tree at 20.00 or above meanwhile or since."""
    if run.lost and run.lost * LOSS_PARTS >= run.received + run.lost:
        return "loss"
    since_us = warm.get((run.agent_no, run.root_key), 0)
    if not vouched and (not run.calm or since_us > microseconds(run.started_at)):
        return "risk"
    return None


async def warm_until(tx: Tx, tenant_no: int, roots: Sequence[tuple[int, str]]) -> dict[tuple[int, str], int]:
    """Return until when trees were at 20.00 or above, in microseconds, by their (agent, root)."""
    places = sorted(set(roots))
    warm: dict[tuple[int, str], int] = {}
    engine = AgentEngine(RuleSet.builtin())
    for agent_no, key, packed in await store.load_states(tx, tenant_no, places):
        tree = engine.instances.states[engine.load_process(packed)].tree
        warm[(agent_no, key)] = 0 if tree is None else tree.warm_until_us
    return warm


async def read(tx: Tx, stored: StoredRun, budget: int) -> Part:
    """Read what a run did after what was learned of it, about ``budget`` calls of it at most."""
    key = key_of(stored.key)
    run = Run("", stored.exe, stored.alphabet, rest=stored.folded_to > stored.after_position)
    times = (stored.started_at - LATE, stored.ended_at)
    reached = stored.folded_to
    while len(run.grams) < budget:
        events = await events_read.read_process(
            tx, stored.agent_no, key.pid, (reached, stored.last_position), times, CHUNK
        )
        for event in events:
            if is_of(event, key):
                run.add(event)
        if len(events) < CHUNK:
            reached = stored.last_position
            break
        reached = events[-1].position
    end = _end_of(stored, key)
    run.name = run_name(str(stored.agent_no), end)
    run.end(end, stored.folded_to, reached)
    return Part(stored, run, reached)


def is_of(event: RiskEvent, key: ProcessKey) -> bool:
    """Whether an event of a pid is of this process."""
    if event.boot_id != key.boot_id:
        return False
    return event.start is None or event.start == key.start


def _end_of(stored: StoredRun, key: ProcessKey) -> RunEnd:
    return RunEnd(
        key,
        key_of(stored.root_key),
        stored.exe,
        stored.alphabet,
        stored.after_position,
        stored.last_position,
        microseconds(stored.started_at),
        microseconds(stored.ended_at),
        stored.hits,
        stored.edge,
        stored.calm,
        stored.received,
        stored.lost,
    )


async def load_before(tx: Tx, wanted: Wanted, parts: Sequence[Part]) -> Before:
    """Return the programs of these parts as the group's newest version has them."""
    version = await store.newest_version(tx, wanted.tenant.no, wanted.group) or 0
    programs = {(part.run.exe, part.run.alphabet) for part in parts}
    programs |= {(EVERYONE, alphabet) for _, alphabet in programs}
    ids = [profile_id(wanted.group, exe, alphabet) for exe, alphabet in sorted(programs)]
    return _before(wanted.group, version, await store.load(tx, wanted.tenant.no, ids, version))


def _before(group: str, version: int, rows: Sequence[StoredBaseline]) -> Before:
    found = Before(version, ProfileSet(group, version))
    for row in rows:
        found.halved_at[(row.exe, row.alphabet)] = row.halved_at
        packed = json.loads(row.packed)
        if row.exe == EVERYONE:
            found.profiles.everyone[row.alphabet] = CallCounts.unpack(packed)
        else:
            found.profiles.baselines[(row.exe, row.alphabet)] = Baseline.unpack(packed)
    return found


def learn_parts(before: Before, wanted: Wanted, parts: Sequence[Part]) -> ProfileSet:
    """Return the next version of the programs of these parts; long enough to be worth a thread."""
    return learn(before.profiles, [part.run for part in parts], wanted.group, before.version + 1)


async def keep(
    tx: Tx, wanted: Wanted, before: Before, made: ProfileSet, parts: Sequence[Part], by: tuple[str, datetime]
) -> Learned:
    """Write a version and note what is learned with it. ``by``: who, and when.

    Raises:
        VersionTaken: it has been made meanwhile.
    """
    learned = Learned(
        group=wanted.group,
        version=made.version,
        learned_at=by[1],
        learned_by=by[0],
        programs=len(made.baselines),
        runs=sum(not part.run.rest for part in parts),
        calls=sum(len(part.run.grams) for part in parts),
    )
    await _write(tx, wanted.tenant.no, learned, made, before.halved_at)
    await store.mark_folded(tx, wanted.tenant.no, [(part.stored, part.to) for part in parts])
    return learned


async def halve_due(
    tx: Tx, tenant: TenantKey, group: str, halved_before: datetime, now: datetime
) -> Learned | None:
    """Halve the counts of up to 50 programs that were last halved before an instant; None when none is due.

    Raises:
        VersionTaken: somebody else has made the next version meanwhile.
    """
    rows = await store.list_due(tx, tenant.no, group, halved_before, HALVED_AT_ONCE)
    if not rows:
        return None
    version = await store.newest_version(tx, tenant.no, group) or 0
    made = halve(_before(group, version, rows).profiles)
    learned = Learned(group, made.version, now, "system:halve", len(made.baselines), 0, 0)
    await _write(tx, tenant.no, learned, made, {})
    return learned


async def _write(
    tx: Tx, tenant_no: int, learned: Learned, made: ProfileSet, halved_at: dict[tuple[str, str], datetime]
) -> None:
    counted = (learned.programs, learned.runs, learned.calls)
    version = (tenant_no, learned.group, made.version, learned.learned_at, learned.learned_by, *counted)
    if not await store.add_version(tx, version):
        raise VersionTaken
    rows: list[tuple[Any, ...]] = []

    def add(exe: str, alphabet: str, sums: tuple[int, int], packed: list[Any]) -> None:
        text = json.dumps(packed, separators=(",", ":")).encode("ascii")
        when = halved_at.get((exe, alphabet), learned.learned_at)
        place = (
            tenant_no,
            profile_id(learned.group, exe, alphabet),
            made.version,
            learned.group,
            exe,
            alphabet,
        )
        rows.append((*place, learned.learned_at, when, *sums, text))

    for (exe, alphabet), base in sorted(made.baselines.items()):
        add(exe, alphabet, (base.runs, base.calls), base.pack())
    for alphabet, counts in sorted(made.everyone.items()):
        add(EVERYONE, alphabet, (0, counts.total), counts.pack())
    await store.add_baselines(tx, rows)
