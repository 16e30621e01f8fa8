"""What rules of an app would have hit among the events of the last hours, for whoever is about to publish them.

Released clients report no event for an ordinary request: what is counted here are requests that drew attention.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from typing import Final

from guardhouse.analysis.abuse.compile_rules import AppRule
from guardhouse.analysis.abuse.networks import Network, read_network
from guardhouse.analysis.abuse.route_template import route_of
from guardhouse.events.app import queries
from guardhouse.events.app.queries import EventGroup
from guardhouse.foundation.database import Tx

LOOKED_AT: Final = 100_000
LISTED: Final = 20
ATTACK: Final = "attack"

Hits = Callable[[EventGroup], bool]


@dataclass(frozen=True, slots=True)
class AddressEffect:
    """An address that would have been hit: by how many events, how many of them attacks."""

    address: str
    events: int
    attacks: int


@dataclass(slots=True)
class RuleEffect:
    """What would have been hit. ``whole``: all events since ``since`` were looked at, not the newest 100,000 only.

    ``attackers`` and ``harmless``: addresses with an attack among what was hit, and without one. ``unmeasured``:
    kinds of rules of which events say nothing.
    """

    since: datetime
    whole: bool
    events: int = 0
    by_class: Counter[str] = field(default_factory=Counter)
    by_endpoint: list[tuple[str, int]] = field(default_factory=list)
    addresses: list[AddressEffect] = field(default_factory=list)
    attackers: int = 0
    harmless: int = 0
    unmeasured: tuple[str, ...] = ()


async def find_effect(
    tx: Tx, owner: tuple[int, int], rules: Sequence[AppRule], since: datetime
) -> RuleEffect:
    """Return which events since an instant the rules would have hit. ``owner``: numbers of tenant and project."""
    tests = [(rule.kind, hits_of(rule)) for rule in rules]
    unmeasured = tuple(sorted({kind for kind, test in tests if test is None}))
    wanted = [test for _, test in tests if test is not None]
    groups, whole = await queries.group_newest(tx, owner, since, LOOKED_AT) if wanted else ([], True)
    found = RuleEffect(since, whole, unmeasured=unmeasured)
    endpoints: Counter[str] = Counter()
    events: Counter[str] = Counter()
    attacks: Counter[str] = Counter()
    for group in groups:
        if any(test(group) for test in wanted):
            found.by_class[group.event_class] += group.count
            endpoints[route_of(group.endpoint or "") or "other"] += group.count
            if group.address is not None:
                events[group.address] += group.count
                attacks[group.address] += group.count if group.event_class == ATTACK else 0
    found.events = found.by_class.total()
    found.by_endpoint = _most(endpoints)
    found.addresses = [AddressEffect(name, count, attacks[name]) for name, count in _most(events)]
    found.attackers = sum(1 for name in events if attacks[name])
    found.harmless = len(events) - found.attackers
    return found


def hits_of(rule: AppRule) -> Hits | None:
    """Return how to tell whether a rule would have hit an event; None when events do not show it."""
    value = rule.value
    if rule.kind == "ban_net":
        net = read_network(str(value["net"]))
        return lambda group: _within(group.address, [net])
    if rule.kind == "block_country":
        return lambda group: group.country == value["country"]
    if rule.kind == "allow_countries":
        return lambda group: group.country is not None and group.country not in value["countries"]
    if rule.kind == "block_user_agent":
        pattern = re.compile(str(value["pattern"]), re.IGNORECASE)
        return lambda group: group.user_agent is not None and pattern.search(group.user_agent) is not None
    if rule.kind == "emergency":
        nets = [read_network(text) for text in value["whitelist"]]
        return lambda group: group.address is not None and not _within(group.address, nets)
    return None


def _within(address: str | None, nets: Sequence[Network]) -> bool:
    try:
        found = None if address is None else ip_address(address)
    except ValueError:
        return False
    return found is not None and any(found.version == net.version and found in net for net in nets)


def _most(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:LISTED]
