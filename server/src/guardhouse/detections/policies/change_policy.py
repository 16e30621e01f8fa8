"""Make policies and their next versions; each change stands in the audit log, and no version ever changes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from guardhouse.audit.record import Entry, record
from guardhouse.detections.calibrations import store as calibration_store
from guardhouse.detections.lists import store as list_store
from guardhouse.detections.packs import store as pack_store
from guardhouse.detections.policies import store
from guardhouse.detections.policies.check_policy import Known
from guardhouse.detections.policies.default_policy import DEFAULT_NAME, ensure_default
from guardhouse.detections.policies.store import StoredPolicy
from guardhouse.detections.policy import CORE, Policy
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.identity.caller import Caller
from guardhouse.settings import Settings

MAX_POLICIES: Final = 100


async def create_policy(tx: Tx, caller: Caller, policy: Policy, now: datetime) -> StoredPolicy:
    """Make a policy; ``policy`` is its first version, checked.

    Raises:
        Conflict: the tenant has one of this name, or as many as it may have.
    """
    tenant_id = caller.tenant.id
    await store.hold_policies(tx, tenant_id)
    await ensure_default(tx, tenant_id, now)
    if len(await store.list_policies(tx, tenant_id, MAX_POLICIES)) >= MAX_POLICIES:
        raise Conflict(f"A tenant has at most {MAX_POLICIES} policies.", limit=MAX_POLICIES)
    made = StoredPolicy(policy, now, caller.actor.name, now, caller.actor.name)
    if not await store.add_policy(tx, tenant_id, made):
        raise _taken(policy.name)
    await record(tx, caller.actor, Entry("policy.create", f"policy:{policy.id}", after=told(policy)))
    return made


async def reach_policy(tx: Tx, caller: Caller, policy_id: UUID, *, lock: bool = False) -> StoredPolicy:
    """Return the newest version of a policy.

    Raises:
        NotFound: the tenant has none of this id.
    """
    found = await store.get_policy(tx, caller.tenant.id, policy_id, lock=lock)
    if found is None:
        raise NotFound("There is no such policy.")
    return found


async def change_policy(
    tx: Tx, caller: Caller, known: StoredPolicy, wanted: Policy, now: datetime
) -> StoredPolicy:
    """Put ``wanted`` in force as the next version of ``known``, held locked; what is as it was costs no version.

    Raises:
        Conflict: its name is another policy's, or it is ``default`` and would lose its own.
    """
    if wanted == known.policy:
        return known
    if known.policy.name == DEFAULT_NAME and wanted.name != DEFAULT_NAME:
        raise Conflict("The policy default keeps its name: it is what a key without a policy is judged by.")
    await store.hold_policies(tx, caller.tenant.id)
    policy = msgspec.structs.replace(wanted, version=known.policy.version + 1)
    made = replace(known, policy=policy, made_at=now, made_by=caller.actor.name)
    if not await store.add_version(tx, caller.tenant.id, made):
        raise _taken(policy.name)
    before, after = told(known.policy), told(policy)
    changed = [name for name in after if before[name] != after[name]]
    entry = Entry(
        "policy.change",
        f"policy:{policy.id}",
        {name: before[name] for name in changed},
        {name: after[name] for name in changed},
    )
    await record(tx, caller.actor, entry)
    return made


async def known_to(tx: Tx, caller: Caller, policy: Policy, settings: Settings) -> Known:
    """Return which of what a policy names there is, and hold it until the end of this transaction."""
    names = [name for name in policy.rule_packs if name != CORE]
    packs = await pack_store.get_packs(tx, caller.tenant.id, names)
    return Known(
        settings.detect_remotes,
        await list_store.known_ids(tx, caller.tenant.id, policy.lists),
        {name: [str(rule["id"]) for rule in pack.rules] for name, pack in packs.items()},
        await calibration_store.get_calibrations(
            tx, caller.tenant.id, [] if policy.calibration is None else [policy.calibration]
        ),
    )


def told(policy: Policy) -> Mapping[str, Any]:
    """Return a policy as the audit log shows it: thresholds in thousandths."""
    found: dict[str, Any] = msgspec.to_builtins(policy)
    del found["id"]
    return found


def _taken(name: str) -> Conflict:
    return Conflict(f"There is a policy named {name} already.")


async def list_policies(
    tx: Tx, caller: Caller, limit: int, after: UUID | None, now: datetime
) -> Sequence[StoredPolicy]:
    """Return the tenant's policies in order of making; ``default`` is among them from the first look on."""
    await ensure_default(tx, caller.tenant.id, now)
    return await store.list_policies(tx, caller.tenant.id, limit, after)
