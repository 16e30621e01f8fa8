"""One click on a proposal: the ban is put into force in the name of whoever accepts it, or it is dismissed."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from guardhouse.agents.projects.read import Project
from guardhouse.agents.rules.publish import (
    Add,
    Authorship,
    NewRule,
    apply_operations,
    place_of,
    take_rules_turn,
)
from guardhouse.analysis.abuse.target import EVERYONE
from guardhouse.audit.record import Entry, record
from guardhouse.events.policies import store
from guardhouse.events.policies.policy import Action
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, NotFound, Problem


class ProposalDecided(Problem):
    """The proposal was decided, has run out, or is no proposal."""

    status, code, title = 409, "proposal_decided", "Proposal decided"
    remediation = (
        "List the actions in state `proposed`; ban the address by a rule where that is still wanted."
    )


async def accept_proposal(tx: Tx, project: Project, action_id: UUID, by: Authorship) -> Action:
    """Ban what a proposal names, from now on for as long as it says.

    Raises:
        NotFound: there is none of this id.
        ProposalDecided: it cannot be accepted any more.
        AppRuleInvalid: the ban would hit guarded addresses; it needs force and a reason.
        Conflict: the project is archived.
    """
    action = await _open(tx, project, action_id, by)
    if project.state != "active":
        raise Conflict("The project is archived: its rules stay as they are.")
    policy = await store.get_policy(tx, by.actor.tenant_id, project.id, action.policy_id)
    until = by.now + timedelta(seconds=action.for_seconds)
    rule = NewRule(
        "ban_net",
        {"net": action.net},
        EVERYONE if policy is None else policy.target,
        expires_at=until,
        reason=by.reason or f"Proposed: {action.reason}"[:500],
        source="auto",
    )
    published = await apply_operations(tx, project, [Add(rule)], by)
    return await _decide(tx, replace(action, state="accepted", until=until, rule_id=published.made[0].id), by)


async def dismiss_proposal(tx: Tx, project: Project, action_id: UUID, by: Authorship) -> Action:
    """Leave an address alone; the policy does not propose it again for as long as the ban would have lasted.

    Raises:
        NotFound: there is none of this id.
        ProposalDecided: it cannot be dismissed any more.
    """
    action = await _open(tx, project, action_id, by)
    until = by.now + timedelta(seconds=action.for_seconds)
    return await _decide(tx, replace(action, state="dismissed", until=until), by)


async def _open(tx: Tx, project: Project, action_id: UUID, by: Authorship) -> Action:
    await take_rules_turn(tx, place_of(by.actor.tenant_id, project))
    action = await store.get_action(tx, by.actor.tenant_id, project.id, action_id)
    if action is None:
        raise NotFound("There is no such action.")
    if action.state != "proposed" or action.until <= by.now:
        raise ProposalDecided("This is no proposal that waits for a decision.", state=action.state)
    return action


async def _decide(tx: Tx, action: Action, by: Authorship) -> Action:
    decided = replace(action, decided_by=by.actor.name, decided_at=by.now)
    await store.decide(tx, by.actor.tenant_id, decided)
    after = {"action_id": str(action.id), "net": action.net, "evidence": action.evidence}
    verb = "accept" if action.state == "accepted" else "dismiss"
    entry = Entry(f"rule_policy.{verb}", f"rule_policy:{action.policy_id}", after=after, reason=by.reason)
    await record(tx, by.actor, entry)
    return decided
