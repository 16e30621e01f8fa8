"""Compile the rules of an app into the document that its agents fetch.

Pure and deterministic: the same rules at the same instant over the same baseline give the same document, in
whatever order they are given. Allow beats ban, the tightest limit wins, an emergency overrides switches.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any, Final
from uuid import UUID

from guardhouse.analysis.abuse.networks import Holes, Network, read_network, spell
from guardhouse.analysis.abuse.target import EVERYONE, Target

KINDS: Final = (
    "ban_net",
    "release_net",
    "allow_net",
    "block_country",
    "allow_countries",
    "block_cloud",
    "block_user_agent",
    "block_pattern",
    "limit_global",
    "limit_endpoint",
    "toggle",
    "emergency",
)
SWITCHES: Final = (
    "enable_penetration_detection",
    "enable_ip_banning",
    "enable_rate_limiting",
    "enable_rate_limit_auto_ban",
)
NUMBERS: Final = ("auto_ban_threshold", "auto_ban_duration")
MAX_NETWORKS: Final = 1000
BAN_SECONDS: Final = 3600
TTL_SECONDS: Final = 60
_ON_IN_EMERGENCY: Final = SWITCHES[:3]


@dataclass(frozen=True, slots=True)
class AppRule:
    """One statement about an app. ``value`` has the members of its kind; a higher ``priority`` goes first."""

    id: UUID
    kind: str
    value: Mapping[str, Any]
    target: Target = EVERYONE
    priority: int = 500
    enabled: bool = True
    starts_at: datetime | None = None
    expires_at: datetime | None = None

    def holds_at(self, instant: datetime) -> bool:
        """Tell whether the rule is in force at an instant: from ``starts_at`` on, before ``expires_at``."""
        return (
            self.enabled
            and (self.starts_at is None or self.starts_at <= instant)
            and (self.expires_at is None or instant < self.expires_at)
        )


@dataclass(frozen=True, slots=True)
class Compiled:
    """A document without the marks of its revision. ``not_served``: networks beyond what one may hold."""

    content: Mapping[str, Any]
    not_served: tuple[str, ...] = field(default=())


def in_order(rules: Iterable[AppRule]) -> list[AppRule]:
    """Return rules in the one order in which they are read: by kind, the higher priority first, then by id."""
    return sorted(rules, key=lambda rule: (KINDS.index(rule.kind), -rule.priority, rule.id))


def compile_rules(
    rules: Iterable[AppRule], instant: datetime, baseline: Mapping[str, Any], group: Sequence[Target] = ()
) -> Compiled:
    """Return what agents of a group of targets get at an instant.

    Args:
        rules: all rules of the project; those not in force, or for others, are left out here.
        instant: when the document is made.
        baseline: what the app sets in its code, in the words of the document; merged into lists and limits.
        group: the targets that the agent is one of.
    """
    mine = {EVERYONE, *group}
    live = in_order(rule for rule in rules if rule.target in mine and rule.holds_at(instant))
    by_kind: dict[str, list[AppRule]] = {kind: [] for kind in KINDS}
    for rule in live:
        by_kind[rule.kind].append(rule)
    allows = [*baseline.get("ip_whitelist", ()), *(rule.value["net"] for rule in by_kind["allow_net"])]
    bans, not_served = _bans(
        [(rule.value["net"], rule.expires_at) for rule in by_kind["ban_net"]]
        + [(net, None) for net in baseline.get("ip_blacklist", ())],
        allows,
    )
    global_limit = _tightest(
        [_limit(rule) for rule in by_kind["limit_global"]]
        + _known_limit(baseline.get("global_rate_limit"), baseline.get("global_rate_window"))
    )
    content: dict[str, Any] = {
        "expires_at": _last_end(live),
        "ttl": TTL_SECONDS,
        "ip_blacklist": [spell(net) for net in bans],
        "ip_whitelist": _released(by_kind["release_net"], allows, bans),
        "ip_ban_duration": BAN_SECONDS,
        **_countries(by_kind, baseline),
        "global_rate_limit": global_limit and global_limit[0],
        "global_rate_window": global_limit and global_limit[1],
        "endpoint_rate_limits": _endpoints(by_kind["limit_endpoint"], baseline),
        "blocked_cloud_providers": sorted(
            {str(rule.value["provider"]) for rule in by_kind["block_cloud"]}
            | set(baseline.get("blocked_cloud_providers", ()))
        ),
        "blocked_user_agents": _patterns(
            by_kind["block_user_agent"], baseline.get("blocked_user_agents", ())
        ),
        "suspicious_patterns": _patterns(by_kind["block_pattern"], baseline.get("suspicious_patterns", ())),
        **_switches(by_kind["toggle"], by_kind["emergency"]),
        **_emergency(by_kind["emergency"]),
        "bans": [{"net": spell(net), "until": until} for net, until in bans.items()],
    }
    return Compiled(content, tuple(not_served))


def _bans(
    bans: Iterable[tuple[str, datetime | None]], allows: Iterable[str]
) -> tuple[dict[Network, datetime | None], list[str]]:
    """Return the networks to ban with the end of each (None = open), and those that no longer fit."""
    holes = Holes(read_network(net) for net in allows)
    served: dict[Network, datetime | None] = {}
    not_served: list[str] = []
    for text, until in bans:
        left = holes.left_of(read_network(text))
        new = {net for net in left if net not in served}
        if len(served) + len(new) > MAX_NETWORKS:
            not_served.append(text)
            continue
        for net in left:
            served[net] = until if net in new else _later(served[net], until)
    return served, not_served


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return None if one is None or other is None else max(one, other)


def _released(
    releases: Iterable[AppRule], allows: Iterable[str], bans: Mapping[Network, datetime | None]
) -> list[str]:
    """Return the networks whose bans agents lift: what is banned in the same breath is not released."""
    found = dict.fromkeys(read_network(net) for net in allows)
    found |= dict.fromkeys(
        net for net in (read_network(rule.value["net"]) for rule in releases) if net not in bans
    )
    return [spell(net) for net in found][:MAX_NETWORKS]


def _countries(by_kind: Mapping[str, Sequence[AppRule]], baseline: Mapping[str, Any]) -> dict[str, list[str]]:
    allowed = set(baseline.get("whitelist_countries", ()))
    for rule in by_kind["allow_countries"]:
        allowed |= set(rule.value["countries"])
    blocked = {str(rule.value["country"]) for rule in by_kind["block_country"]}
    blocked |= set(baseline.get("blocked_countries", ()))
    return {"blocked_countries": sorted(blocked - allowed), "whitelist_countries": sorted(allowed)}


def _limit(rule: AppRule) -> tuple[int, int]:
    return rule.value["requests"], rule.value["window_s"]


def _known_limit(requests: int | None, window_s: int | None) -> list[tuple[int, int]]:
    return [] if requests is None else [(requests, window_s or 60)]


def _tightest(limits: Iterable[tuple[int, int]]) -> tuple[int, int] | None:
    """Return the limit with the fewest requests per second; of two alike, the one that bursts less."""
    return min(limits, key=lambda limit: (Fraction(*limit), limit[0]), default=None)


def _endpoints(rules: Sequence[AppRule], baseline: Mapping[str, Any]) -> dict[str, list[int]]:
    known: Mapping[str, Sequence[int]] = baseline.get("endpoint_rate_limits", {})
    limits = {path: [(pair[0], pair[1])] for path, pair in known.items()}
    for rule in rules:
        limits.setdefault(rule.value["endpoint"], []).append(_limit(rule))
    tightest = {path: _tightest(found) for path, found in sorted(limits.items())}
    return {path: list(limit) for path, limit in tightest.items() if limit is not None}


def _patterns(rules: Sequence[AppRule], known: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*known, *(str(rule.value["pattern"]) for rule in rules)]))


def _switches(toggles: Sequence[AppRule], emergencies: Sequence[AppRule]) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys((*SWITCHES, *NUMBERS))
    for rule in reversed(toggles):  # the first one has the last word
        found[rule.value["name"]] = rule.value["set"]
    if emergencies:
        found |= dict.fromkeys(_ON_IN_EMERGENCY, True)
    return found


def _emergency(rules: Sequence[AppRule]) -> dict[str, Any]:
    nets = [net for rule in rules for net in rule.value["whitelist"]]
    messages = [rule.value["message"] for rule in rules if rule.value["message"]]
    return {
        "emergency_mode": bool(rules),
        "emergency_whitelist": list(dict.fromkeys(nets)),
        "emergency_whitelist_only": any(rule.value["whitelist_only"] for rule in rules),
        "message": messages[0] if messages else None,
    }


def _last_end(live: Sequence[AppRule]) -> datetime | None:
    """Return when the last rule ends, if all do: agents that hear nothing more drop the document then."""
    ends = [rule.expires_at for rule in live if rule.expires_at is not None]
    return max(ends) if ends and len(ends) == len(live) else None
