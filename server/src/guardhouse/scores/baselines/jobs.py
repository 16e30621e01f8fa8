"""Learning by schedule: each hour, ended and harmless runs of a day ago and older become the next version."""

import asyncio
from datetime import datetime, timedelta
from typing import Final

import msgspec

from guardhouse.foundation import logs
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.jobs import GiveUp, JobContext, enqueue, every, job
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.scores.baselines import fold, store
from guardhouse.scores.baselines.fold import Learned, Part, VersionTaken, Wanted
from guardhouse.scores.baselines.note_runs import note_open_runs

WAIT: Final = timedelta(hours=24)
HALVED_EACH: Final = timedelta(days=30)
RUNS_A_READ: Final = 50
TRIES: Final = 5
START: Final = (0, "")
_log = logs.get(__name__)


@every(3600, "scores.learn_baselines", lease_seconds=600)
async def learn_baselines(context: JobContext) -> None:
    """Learn what ended a day ago and was harmless, halve what is a month old, forget what nobody needs."""
    resources = context.resources
    now = resources.clock.now()
    async with system_transaction(resources.database) as tx:
        groups = await store.list_groups(tx, now - WAIT, now - HALVED_EACH)
    for tenant_id, tenant_no, group in groups:
        tenant = TenantKey(tenant_id, tenant_no)
        # A process that has said nothing for a day is taken to have ended.
        await look_at_open_runs(resources, tenant, group, now - WAIT)
        wanted = Wanted(tenant, group, now - WAIT)
        while await fold_step(resources, wanted, "system:learn") is not None:
            pass
        while await _halve(resources, tenant, group, now - HALVED_EACH) is not None:
            pass
    kept = timedelta(days=resources.settings.events_retention_days)
    async with system_transaction(resources.database) as tx:
        await store.prune(tx, now - kept)


class GoOn(msgspec.Struct):
    """The rest of a past that somebody asked to learn."""

    group: str
    ended_before: datetime
    by: str


@job("scores.learn_rest", lease_seconds=600)
async def learn_rest(context: JobContext, rest: GoOn) -> None:
    """Learn a group's past in steps until nothing waits."""
    if context.tenant is None:
        raise GiveUp("a past belongs to a tenant")
    wanted = Wanted(context.tenant, rest.group, rest.ended_before, vouched=True)
    while await fold_step(context.resources, wanted, rest.by) is not None:
        pass


async def go_on(tx: Tx, wanted: Wanted, by: str) -> bool:
    """Queue the rest of what was asked for; False when nothing is left."""
    if not await fold.pick(tx, wanted):
        return False
    await enqueue(tx, learn_rest, GoOn(wanted.group, wanted.ended_before, by))
    return True


async def look_at_open_runs(
    resources: Resources, tenant: TenantKey, group: str, silent_since: datetime
) -> None:
    """Note what runs that go on have done so far, in processes last seen before an instant."""
    place: tuple[int, str] | None = START
    while place is not None:
        async with tenant_transaction(resources.database, tenant) as tx:
            place = await note_open_runs(tx, tenant.no, group, silent_since, place)


async def fold_step(resources: Resources, wanted: Wanted, by: str) -> Learned | None:
    """Learn some of what waits, with no transaction held while reading on and thinking; None when nothing does."""
    for _ in range(TRIES):
        parts = await _read(resources, wanted)
        if not parts:
            return None
        async with tenant_transaction(resources.database, wanted.tenant) as tx:
            before = await fold.load_before(tx, wanted, parts)
        made = await asyncio.to_thread(fold.learn_parts, before, wanted, parts)
        try:
            async with tenant_transaction(resources.database, wanted.tenant) as tx:
                return await fold.keep(tx, wanted, before, made, parts, (by, resources.clock.now()))
        except VersionTaken:
            _log.info("baselines_learned_elsewhere", group=wanted.group, version=made.version)
    return None


async def _read(resources: Resources, wanted: Wanted) -> list[Part]:
    async with tenant_transaction(resources.database, wanted.tenant) as tx:
        waiting = await fold.pick(tx, wanted)
    parts: list[Part] = []
    budget = fold.CALLS_AT_ONCE
    for first in range(0, len(waiting), RUNS_A_READ):
        async with tenant_transaction(resources.database, wanted.tenant) as tx:
            for stored in waiting[first : first + RUNS_A_READ]:
                if budget <= 0:
                    return parts
                parts.append(await fold.read(tx, stored, budget))
                budget -= len(parts[-1].run.grams)
    return parts


async def _halve(
    resources: Resources, tenant: TenantKey, group: str, halved_before: datetime
) -> Learned | None:
    try:
        async with tenant_transaction(resources.database, tenant) as tx:
            return await fold.halve_due(tx, tenant, group, halved_before, resources.clock.now())
    except VersionTaken:
        return None
