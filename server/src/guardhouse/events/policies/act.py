"""Lets one policy act on addresses: each brake is asked, then it bans, proposes, or notes what it would have done.

The same network never twice while what was done about it lasts; whoever acts twice after a crash finds that.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from guardhouse.agents.projects.read import Project
from guardhouse.agents.rules import queries as rule_queries
from guardhouse.agents.rules.check_rule import Guarded, hit_of
from guardhouse.agents.rules.publish import (
    Add,
    Authorship,
    NewRule,
    apply_operations,
    place_of,
    take_rules_turn,
)
from guardhouse.agents.rules.store import StoredRule
from guardhouse.analysis.abuse.address import Scored
from guardhouse.analysis.abuse.networks import Network, read_network, spell
from guardhouse.audit.record import Actor, Entry, record
from guardhouse.events.app import queries as event_queries
from guardhouse.events.policies import store
from guardhouse.events.policies.ladder import net_of, step_after
from guardhouse.events.policies.policy import Action, Mode, Policy, State
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.ids import new_id
from guardhouse.notices.policy_kinds import RulesPolicyPaused, RulesProposed
from guardhouse.notices.publish import Draft, Origin, publish_all

ACTIVE_BANS: Final = 200
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
PROXY_SHARE: Final = 5  # one in so many events of the project, over
PROXY_AGENTS: Final = 5  # so many user agents
_LISTED: Final = 10
_STATE_OF: Final[dict[Mode, State]] = {"observe": "observed", "suggest": "proposed", "enforce": "enforced"}


@dataclass(frozen=True, slots=True)
class Offence:
    """An address that meets a policy's cause: why in words, and what shows it."""

    scored: Scored
    reason: str
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scene:
    """Where and when a policy acts. ``proxies``: networks that the server itself trusts as proxies."""

    tenant: TenantKey
    project: Project
    now: datetime
    proxies: Sequence[Network] = ()


@dataclass(slots=True)
class _Standing:
    """What the brakes count, as this transaction moves it on."""

    bans: list[Network]
    active: int
    this_hour: int


async def act(tx: Tx, scene: Scene, policy: Policy, offences: Sequence[Offence]) -> list[Action]:
    """Act on addresses as the policy's mode says, in a transaction that has written nothing; returns what was done.

    A policy that hits ``max_per_hour`` or the project's 200 active automatic bans is paused and does no more.
    """
    place = place_of(scene.tenant.id, scene.project)
    await take_rules_turn(tx, place)
    current = await store.get_policy(tx, scene.tenant.id, scene.project.id, policy.id)
    if current is None or not current.enabled or current.paused_at is not None:
        return []
    rules = await rule_queries.list_rules(tx, place)
    wanted = await _wanted(tx, scene, current, offences)
    standing = _Standing(
        [read_network(str(rule.rule.value["net"])) for rule in rules if _bans(rule, scene.now)],
        sum(1 for rule in rules if rule.source == "auto" and _bans(rule, scene.now)),
        await store.count_since(tx, scene.tenant.id, current.id, scene.now - HOUR),
    )
    done: list[Action] = []
    brake: tuple[str, int] | None = None
    for net, step, offence in wanted:
        if any(net.version == ban.version and net.subnet_of(ban) for ban in standing.bans):  # type: ignore[arg-type] # of one version
            continue
        refusal = await _refusal(tx, scene, current, net)
        if refusal is None:
            brake = _brake(current, standing)
            if brake is not None:
                break
            standing.active += 1
            standing.this_hour += 1
            standing.bans.append(net)
        done.append(_action(scene, current, net, step, offence, refusal))
    return await _carry_out(tx, scene, current, done, brake)


async def _wanted(
    tx: Tx, scene: Scene, policy: Policy, offences: Sequence[Offence]
) -> list[tuple[Network, int, Offence]]:
    """Return the networks to ban with the step of the ladder, those left out about which something lasts."""
    by_net: dict[Network, Offence] = {}
    for offence in offences:
        net = net_of(offence.scored, policy.effect)
        if net is not None:
            by_net.setdefault(net, offence)
    texts = [spell(net) for net in by_net]
    still = await store.list_open(tx, scene.tenant.id, policy.id, texts, scene.now)
    past = await store.list_past(tx, scene.tenant.id, policy.id, texts)
    found = []
    for net, offence in by_net.items():
        text = spell(net)
        if text not in still:
            last = past.get(text)
            step = 0 if last is None else step_after(last.step, last.until, scene.now, policy.effect)
            found.append((net, step, offence))
    return found


async def _refusal(tx: Tx, scene: Scene, policy: Policy, net: Network) -> str | None:
    """Return the code of what keeps a network from being banned by itself; None when nothing does."""
    never = (*policy.never, *scene.project.settings.never_ban)
    hit = hit_of(net, Guarded(None, never, tuple(scene.proxies)))
    if hit is not None:
        return hit[0]
    share = await event_queries.measure_share(
        tx, (scene.tenant.no, scene.project.no), net, scene.now - DAY, PROXY_SHARE
    )
    return "proxy" if share.user_agents >= PROXY_AGENTS and share.over else None


def _brake(policy: Policy, standing: _Standing) -> tuple[str, int] | None:
    if standing.this_hour >= policy.max_per_hour:
        return "max_per_hour", policy.max_per_hour
    return ("active_bans", ACTIVE_BANS) if standing.active >= ACTIVE_BANS else None


def _action(
    scene: Scene, policy: Policy, net: Network, step: int, offence: Offence, refusal: str | None
) -> Action:
    seconds = policy.effect.for_s[step]
    state: State = "refused" if refusal else _STATE_OF[policy.mode]
    until = scene.now + (HOUR if refusal else timedelta(seconds=seconds))
    return Action(
        new_id(),
        scene.project.id,
        policy.id,
        offence.scored.name,
        spell(net),
        state,
        refusal,
        step,
        seconds,
        offence.reason,
        offence.evidence,
        None,
        scene.now,
        until,
    )


async def _carry_out(
    tx: Tx, scene: Scene, policy: Policy, done: Sequence[Action], brake: tuple[str, int] | None
) -> list[Action]:
    """Publish the bans in one revision, then write down what was done and tell of it."""
    actor = Actor(scene.tenant.id, f"policy:{policy.id}")
    bans = [action for action in done if action.state == "enforced"]
    if bans:
        by = Authorship(
            actor, scene.now, cause="policy", reason=f"Policy {policy.name}: {bans[0].reason}"[:500]
        )
        published = await apply_operations(tx, scene.project, [Add(_rule(policy, each)) for each in bans], by)
        made = {each.id: rule.id for each, rule in zip(bans, published.made, strict=True)}
        done = [replace(each, rule_id=made.get(each.id)) for each in done]
    await store.add_actions(tx, scene.tenant.id, done)
    for each in done:
        if each.state in {"enforced", "refused"}:
            await record(tx, actor, _entry(each))
    drafts = [_proposal(scene, policy, each) for each in done if each.state == "proposed"]
    if brake is not None:
        drafts.append(await _pause(tx, scene, policy, brake))
    await publish_all(tx, drafts)
    return list(done)


def _rule(policy: Policy, action: Action) -> NewRule:
    return NewRule(
        "ban_net",
        {"net": action.net},
        policy.target,
        priority=int(action.evidence.get("score", 500)),
        expires_at=action.until,
        reason=f"Policy {policy.name}: {action.reason}"[:500],
        source="auto",
    )


def _entry(action: Action) -> Entry:
    after = {
        "action_id": str(action.id),
        "net": action.net,
        "state": action.state,
        "refused_for": action.refused_for,
        "rule_id": action.rule_id and str(action.rule_id),
        "step": action.step,
        "until": rfc3339(action.until),
        "evidence": action.evidence,
    }
    verb = "refuse" if action.state == "refused" else "ban"
    return Entry(f"rule_policy.{verb}", f"rule_policy:{action.policy_id}", after=after, reason=action.reason)


async def _pause(tx: Tx, scene: Scene, policy: Policy, brake: tuple[str, int]) -> Draft:
    name, limit = brake
    paused = replace(policy, paused_at=scene.now, paused_by=name, version=policy.version + 1)
    await store.put_policy(tx, scene.tenant.id, paused)
    actor = Actor(scene.tenant.id, f"policy:{policy.id}")
    after = {"paused_by": name, "limit": limit}
    await record(tx, actor, Entry("rule_policy.pause", f"rule_policy:{policy.id}", after=after))
    said = RulesPolicyPaused(
        project_id=scene.project.id,
        policy_id=policy.id,
        policy=policy.name,
        brake=name,
        limit=limit,
    )
    return Draft(said, scene.tenant.id, paused.version, Origin(project_id=scene.project.id))


def _proposal(scene: Scene, policy: Policy, action: Action) -> Draft:
    said = RulesProposed(
        project_id=scene.project.id,
        policy_id=policy.id,
        policy=policy.name,
        action_id=action.id,
        net=action.net,
        for_seconds=action.for_seconds,
        reason=action.reason,
        event_ids=tuple(action.evidence.get("event_ids", ()))[:_LISTED],
        expires_at=rfc3339(action.until),
    )
    return Draft(said, scene.tenant.id, policy.version, Origin(project_id=scene.project.id))


def _bans(rule: StoredRule, now: datetime) -> bool:
    return rule.rule.kind == "ban_net" and rule.rule.holds_at(now)
