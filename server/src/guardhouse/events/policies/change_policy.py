"""Make, change and take out policies; each change stands in the audit log."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from guardhouse.agents.projects.read import Project
from guardhouse.analysis.abuse.classes import WEIGHING_TYPES
from guardhouse.analysis.abuse.networks import read_network, spell
from guardhouse.analysis.abuse.target import Target, is_range
from guardhouse.audit.record import Entry, record
from guardhouse.events.policies import store
from guardhouse.events.policies.policy import ByEvents, ByFinding, Cause, Policy
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, NotFound, Problem
from guardhouse.identity.caller import Caller
from guardhouse.notices.kinds import KINDS

MAX_POLICIES: Final = 100


class PolicyInvalid(Problem):
    """A policy cannot be taken; nothing was changed."""

    status, code, title = 422, "policy_invalid", "Policy invalid"
    remediation = "Correct the members listed in `errors`; each says how."


async def create_policy(tx: Tx, caller: Caller, project: Project, policy: Policy) -> Policy:
    """Make a policy.

    Raises:
        PolicyInvalid: a member that does not fit.
        Conflict: the project is archived, or has too many policies.
    """
    if project.state != "active":
        raise Conflict("The project is archived: its policies stay as they are.")
    made = _checked(policy)
    standing = await store.list_policies(tx, caller.tenant.id, project.id, MAX_POLICIES)
    if len(standing) >= MAX_POLICIES:
        raise Conflict(f"A project has at most {MAX_POLICIES} policies.", limit=MAX_POLICIES)
    await store.put_policy(tx, caller.tenant.id, made)
    await record(tx, caller.actor, Entry("rule_policy.create", f"rule_policy:{made.id}", after=made.told))
    return made


async def reach_policy(
    tx: Tx, caller: Caller, project: Project, policy_id: UUID, *, lock: bool = False
) -> Policy:
    """Return a policy of a project.

    Raises:
        NotFound: there is none of this id.
    """
    found = await store.get_policy(tx, caller.tenant.id, project.id, policy_id, lock=lock)
    if found is None:
        raise NotFound("There is no such policy.")
    return found


async def change_policy(tx: Tx, caller: Caller, known: Policy, members: Mapping[str, Any]) -> Policy:
    """Change members of a policy; enabling it lets go of the brake that it hit.

    Raises:
        PolicyInvalid: a member that does not fit.
    """
    changed = replace(known, **members)
    if members.get("enabled"):
        changed = replace(changed, paused_at=None, paused_by=None)
    changed = _checked(changed)
    if changed == known:
        return known
    changed = replace(changed, version=known.version + 1)
    await store.put_policy(tx, caller.tenant.id, changed)
    before = known.told | {"paused_by": known.paused_by}
    after = changed.told | {"paused_by": changed.paused_by}
    entry = Entry(
        "rule_policy.change",
        f"rule_policy:{known.id}",
        {name: value for name, value in before.items() if after[name] != value},
        {name: value for name, value in after.items() if before[name] != value},
    )
    await record(tx, caller.actor, entry)
    return changed


async def delete_policy(tx: Tx, caller: Caller, known: Policy) -> None:
    """Take a policy out; the bans that it made end when they would have."""
    await store.delete_policy(tx, caller.tenant.id, known.id)
    await record(tx, caller.actor, Entry("rule_policy.delete", f"rule_policy:{known.id}", before=known.told))


def new_policy(
    project: Project, policy_id: UUID, members: Mapping[str, Any], now: datetime, by: str
) -> Policy:
    """Return a policy to be made, of the members that people set."""
    return Policy(policy_id, project.id, created_at=now, created_by=by, **members)


def _checked(policy: Policy) -> Policy:
    """Return a policy with its networks in their one spelling.

    Raises:
        PolicyInvalid: with every fault.
    """
    never = [_network(text) for text in policy.never]
    faults = [
        _fault(
            f"/never/{number}", "network", f"{policy.never[number][:60]!r} is no network.", "Write a CIDR."
        )
        for number, net in enumerate(never)
        if net is None
    ]
    faults += [*_faults_of_cause(policy.cause), *_faults_of_target(policy.target)]
    if faults:
        raise PolicyInvalid(faults[0]["detail"], errors=faults)
    return replace(policy, never=tuple(dict.fromkeys(net for net in never if net is not None)))


def _network(text: str) -> str | None:
    try:
        return spell(read_network(text))
    except ValueError:
        return None


def _faults_of_cause(cause: Cause) -> Iterator[dict[str, str]]:
    if isinstance(cause, ByEvents):
        for number, name in enumerate(cause.types):
            if name not in WEIGHING_TYPES:
                advice = f"Give some of {', '.join(sorted(WEIGHING_TYPES))}."
                where = f"/when/types/{number}"
                yield _fault(where, "event_type", "Events of this type weigh nothing.", advice)
    if isinstance(cause, ByFinding):
        for number, name in enumerate(cause.kinds):
            if name not in KINDS:
                advice = "Give kinds of notices, as in the catalogue of notices."
                yield _fault(f"/when/kinds/{number}", "kind", "There is no such notice.", advice)


def _faults_of_target(target: Target) -> Iterator[dict[str, str]]:
    for name, wanted in target.conditions.items():
        if name.endswith("_version") and not is_range(wanted):
            detail = f"{wanted[:60]!r} is no range of versions."
            yield _fault(f"/target/{name}", "version_range", detail, "Write clauses such as >=2.5.")


def _fault(pointer: str, code: str, detail: str, remediation: str) -> dict[str, str]:
    return {"pointer": pointer, "code": code, "detail": detail, "remediation": remediation}
