"""Recalculations as jobs, and forgetting old ones."""

import asyncio
from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec

from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.jobs import GiveUp, JobContext, every, job
from guardhouse.foundation.transaction import system_transaction
from guardhouse.scores.recalculations import a_range, store
from guardhouse.scores.recalculations.replay import Past
from guardhouse.scores.recalculations.store import AskedJob

KEPT: Final = timedelta(days=30)
NOTED_EVERY: Final = 20  # steps of 5,000 events


class RecalculationWork(msgspec.Struct, frozen=True):
    """Which recalculation of the job's tenant."""

    recalculation_id: UUID


@job("scores.recalculate", lease_seconds=60)
async def run_recalculation(context: JobContext, work: RecalculationWork) -> None:
    """Compute the processes that a recalculation asks for; a second run of the same one ends it the same way."""
    resources, tenant = context.resources, context.tenant
    if tenant is None:
        raise GiveUp("a recalculation belongs to a tenant")
    async with system_transaction(resources.database) as tx:
        asked = await store.get(tx, tenant.no, work.recalculation_id)
    if asked is None:
        raise GiveUp("the recalculation is not there any more")
    if asked.state in ("done", "failed"):
        return
    try:
        await _run(context, asked, tenant)
    except Problem as problem:
        told = {"code": problem.code, "detail": problem.detail, **problem.extensions}
        async with system_transaction(resources.database) as tx:
            await store.finish(tx, asked.id, "failed", told, resources.clock.now())


async def _run(context: JobContext, asked: AskedJob, tenant: TenantKey) -> None:
    database, clock = context.resources.database, context.resources.clock
    async with system_transaction(database) as tx:
        past = Past(tenant, asked.agent_no, asked.agent_id, asked.group)
        replay = await a_range.begin(tx, past, asked.mode)
    steps = 0
    while True:
        async with system_transaction(database) as tx:
            result = await a_range.step(tx, replay, asked)
            if result is not None or steps % NOTED_EVERY == 0:
                await store.go_on(tx, asked.id, replay.position)
            if result is not None:
                await store.finish(tx, asked.id, "done", result, clock.now())
                return
        steps += 1
        await asyncio.sleep(0)


@every(3600, "scores.prune_recalculations")
async def prune_recalculations(context: JobContext) -> None:
    """Forget recalculations after 30 days."""
    resources = context.resources
    async with system_transaction(resources.database) as tx:
        await store.prune(tx, resources.clock.now() - KEPT)
