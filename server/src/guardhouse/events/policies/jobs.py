"""Policies act in a loop beside the jobs: on addresses that did something, and on notices that name one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from typing import Final
from uuid import UUID

from guardhouse.agents.projects.read import load_project
from guardhouse.events.policies import act, store
from guardhouse.events.policies.act import Offence, Scene
from guardhouse.events.policies.judge import judge_addresses, judge_notice
from guardhouse.events.policies.policy import ByFinding, Policy
from guardhouse.events.policies.store import Unjudged
from guardhouse.foundation import logs
from guardhouse.foundation.database import DatabaseAway, TenantKey, Tx
from guardhouse.foundation.pause import set_within
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.notices import read
from guardhouse.notices.read import Notice

POLL_SECONDS: Final = 1.0
AT_ONCE: Final = 200
MOST_POLICIES: Final = 100
READER: Final = "policies"
_log = logs.get(__name__)


async def judge(resources: Resources, stop: asyncio.Event) -> None:
    """Let policies act until ``stop``; the database going away costs a pause."""
    while not stop.is_set():
        try:
            busy = await judge_once(resources)
            busy = await read_notices(resources) or busy
        except DatabaseAway as error:
            _log.warning("policies_wait", error=str(error))
            busy = False
        if not busy:
            await set_within(stop, POLL_SECONDS)


async def judge_once(resources: Resources) -> bool:
    """Show policies the addresses that did something, so many at most; tells whether more may wait."""
    async with system_transaction(resources.database) as tx:
        seen = await store.list_unjudged(tx, AT_ONCE)
    for (tenant, project_id), group in groupby(seen, key=lambda each: (each.tenant, each.project_id)):
        await _judge_project(resources, tenant, project_id, list(group))
    if seen:
        async with system_transaction(resources.database) as tx:
            await store.settle(tx, seen)
    return len(seen) == AT_ONCE


async def read_notices(resources: Resources) -> bool:
    """Show policies the next notices; tells whether more wait."""
    now = resources.clock.now()
    async with system_transaction(resources.database) as tx:
        mark = await read.reader_mark(tx, READER, now)
        found = await read.read_after(tx, mark, AT_ONCE)
        wanted = await store.list_wanted(
            tx, {notice.project_id for notice in found.notices if notice.project_id}
        )
    for notice in found.notices:
        for tenant, policy in wanted:
            if (tenant.id, policy.project_id) == (notice.tenant_id, notice.project_id):
                await _judge_notice(resources, tenant, policy, notice)
    if found.notices:
        async with system_transaction(resources.database) as tx:
            await read.move_reader(tx, READER, mark.position, found.notices[-1].position)
    return len(found.notices) == AT_ONCE


async def _judge_project(
    resources: Resources, tenant: TenantKey, project_id: UUID, seen: Sequence[Unjudged]
) -> None:
    async with tenant_transaction(resources.database, tenant) as tx:
        policies = await store.list_policies(tx, tenant.id, project_id, MOST_POLICIES)
    for policy in policies:
        if policy.enabled and policy.paused_at is None and not isinstance(policy.cause, ByFinding):

            async def find(tx: Tx, scene: Scene, policy: Policy = policy) -> list[Offence]:
                return await judge_addresses(tx, scene, policy, seen)

            await _let_act(resources, tenant, policy, find)


async def _judge_notice(resources: Resources, tenant: TenantKey, policy: Policy, notice: Notice) -> None:
    offence = judge_notice(policy, notice)

    async def find(_tx: Tx, _scene: Scene) -> list[Offence]:
        return [] if offence is None else [offence]

    if offence is not None:
        await _let_act(resources, tenant, policy, find)


async def _let_act(
    resources: Resources,
    tenant: TenantKey,
    policy: Policy,
    find: Callable[[Tx, Scene], Awaitable[list[Offence]]],
) -> None:
    """Let one policy act in a transaction of its own; what goes wrong with it holds up no other."""
    try:
        async with tenant_transaction(resources.database, tenant) as tx:
            project = await load_project(tx, tenant.id, policy.project_id)
            scene = Scene(tenant, project, resources.clock.now(), resources.settings.trusted_proxies)
            offences = await find(tx, scene)
            if offences:
                await act.act(tx, scene, policy, offences)
    except DatabaseAway:
        raise
    except Exception:  # noqa: BLE001 - one policy must not hold up the others
        _log.exception("policy_failed", policy_id=str(policy.id))
