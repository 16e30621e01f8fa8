"""Bans an address, or lifts what bans it: one rule of the app and one revision, as if it had been written by hand."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from guardhouse.agents.projects.read import Project
from guardhouse.agents.rules import queries
from guardhouse.agents.rules.publish import (
    Add,
    Authorship,
    Change,
    NewRule,
    Operation,
    Published,
    Remove,
    apply_operations,
    place_of,
    take_rules_turn,
)
from guardhouse.agents.rules.store import StoredRule
from guardhouse.analysis.abuse.address import Scored
from guardhouse.analysis.abuse.networks import Network, read_network, spell
from guardhouse.analysis.abuse.target import EVERYONE
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, Problem


class NoNetwork(Problem):
    """A hash stands for the address: nobody knows which network to ban or release."""

    status, code, title = 422, "no_network", "No network"
    remediation = "Let the app send addresses in the clear, or ban the network by a rule."


@dataclass(frozen=True, slots=True)
class Release:
    """What a release came to. ``lifted``: bans taken out; ``still``: wider bans that go on to hold the address."""

    published: Published
    lifted: tuple[StoredRule, ...]
    still: tuple[StoredRule, ...]


async def ban_address(
    tx: Tx, project: Project, scored: Scored, by: Authorship, duration: timedelta | None
) -> StoredRule:
    """Ban an address, or the /64 that it is scored by; a ban that stands for all agents gets the new end.

    Raises:
        NoNetwork: it is a hash.
        AppRuleInvalid: guarded addresses without force.
        Conflict: the project is archived, or has too many rules.
    """
    net = _network(project, scored)
    ends_at = None if duration is None else by.now + duration
    standing, _ = await _standing(tx, project, net, by)
    if standing:
        members = {"expires_at": ends_at, "enabled": True, "starts_at": None, "reason": by.reason}
        change = Change(standing[0].id, members)
        published = await apply_operations(tx, project, [change], by)
        return published.added[0] if published.added else standing[0]
    rule = NewRule("ban_net", {"net": spell(net)}, expires_at=ends_at, reason=by.reason)
    published = await apply_operations(tx, project, [Add(rule)], by)
    return published.made[0]


async def release_address(tx: Tx, project: Project, scored: Scored, by: Authorship) -> Release:
    """Lift the bans of just this address, and tell apps to lift those that they decided on themselves.

    Raises:
        NoNetwork: it is a hash.
        Conflict: the project is archived, or has too many rules.
    """
    net = _network(project, scored)
    lifted, wider = await _standing(tx, project, net, by)
    operations: list[Operation] = [Remove(rule.id) for rule in lifted]
    if not lifted:
        operations = [Add(NewRule("release_net", {"net": spell(net)}, reason=by.reason))]
    published = await apply_operations(tx, project, operations, by)
    return Release(published, tuple(lifted), tuple(wider))


def _network(project: Project, scored: Scored) -> Network:
    if scored.network is None:
        raise NoNetwork("The app sends a hash for this address.")
    if project.state != "active":
        raise Conflict("The project is archived: its rules stay as they are.")
    return scored.network


async def _standing(
    tx: Tx, project: Project, net: Network, by: Authorship
) -> tuple[list[StoredRule], list[StoredRule]]:
    """Return the bans of just this network for all agents, and those that hold it with others, as they stand."""
    place = place_of(by.actor.tenant_id, project)
    await take_rules_turn(tx, place)
    exact, wider = [], []
    for rule in await queries.list_rules(tx, place):
        if rule.rule.kind != "ban_net" or _is_over(rule, by.now):
            continue
        banned = read_network(str(rule.rule.value["net"]))
        if banned == net and rule.rule.target == EVERYONE:
            exact.append(rule)
        elif banned.version == net.version and banned.overlaps(net):
            wider.append(rule)
    return exact, wider


def _is_over(rule: StoredRule, now: datetime) -> bool:
    return rule.rule.expires_at is not None and rule.rule.expires_at <= now
