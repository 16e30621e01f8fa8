"""Apply dynamic rules to requests before the application sees them.

Order: emergency, allowed networks, bans, countries and clouds, user agents, rate limits, patterns. The first that has
something against a request decides. A rule that cannot be read is left out and named in `RuleSet.not_applied`.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

from guard_agent._net.addresses import Address, Networks, read_address, read_network
from guard_agent._net.limits import SlidingWindow
from guard_agent._net.path_pattern import path_pattern
from guard_agent.event_types import EventType
from guard_agent.models import DynamicRules

MOST_PATTERNS = 50
LONGEST_TEXT = 2048
_MOST_REMEMBERED, _LONGEST_REMEMBERED = 4096, 512
_EVERY_ROUTE = ""

# Country (ISO 3166 alpha-2) and cloud provider of an address, None for what is not known.
Geo = Callable[[str], tuple[str | None, str | None]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not let through, and what it is told. `retry_after` is in whole seconds."""

    status: int
    code: str
    detail: str
    event_type: str
    retry_after: int | None = None
    pattern: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


class RuleSet:
    """One document of rules, made ready to be asked per request."""

    def __init__(self, rules: DynamicRules, *, has_geo: bool) -> None:
        self.rules = rules
        self.ends = math.inf if rules.expires_at is None else _seconds(rules.expires_at)
        self.not_applied: list[str] = []
        self.allowed = self._networks("ip_whitelist", dict.fromkeys(rules.ip_whitelist, math.inf))
        self.spared = self._networks(
            "emergency_whitelist", dict.fromkeys(rules.emergency_whitelist, math.inf)
        )
        self.bans = self._networks(
            "ip_blacklist", _bans(rules) if rules.enable_ip_banning is not False else {}
        )
        self.agents = self._expressions("blocked_user_agents", rules.blocked_user_agents)
        self.patterns: list[re.Pattern[str]] = []
        if rules.enable_penetration_detection is not False:
            self.patterns = self._expressions("suspicious_patterns", rules.suspicious_patterns)[
                :MOST_PATTERNS
            ]
            self.not_applied += [
                f"suspicious_patterns: {text!r}" for text in rules.suspicious_patterns[MOST_PATTERNS:]
            ]
        self.limits: dict[str, tuple[int, int]] = {}
        self.path_limits: list[tuple[re.Pattern[str], str, tuple[int, int]]] = []
        if rules.enable_rate_limiting is not False:
            self._take_limits(rules)
        if not has_geo:
            names = ("blocked_countries", "whitelist_countries", "blocked_cloud_providers")
            self.not_applied += [f"{name}: no geo callable" for name in names if getattr(rules, name)]
        if rules.auto_ban_threshold is not None or rules.enable_rate_limit_auto_ban:
            self.not_applied.append("auto_ban: addresses are banned by the platform's policies")

    def limits_of(self, path: str) -> Iterable[tuple[str, tuple[int, int]]]:
        """Return the limits that hold for a path, each with the name under which requests are counted."""
        if (of_all := self.limits.get(_EVERY_ROUTE)) is not None:
            yield _EVERY_ROUTE, of_all
        if (exact := self.limits.get(path)) is not None:
            yield path, exact
        for expression, name, limit in self.path_limits:
            if expression.fullmatch(path):
                yield name, limit

    def _networks(self, name: str, ends: dict[str, float]) -> Networks:
        networks = Networks(ends)
        self.not_applied += [f"{name}: {text!r}" for text in networks.unreadable]
        return networks

    def _expressions(self, name: str, texts: list[str]) -> list[re.Pattern[str]]:
        found = []
        for text in texts:
            try:
                found.append(re.compile(text, re.IGNORECASE))
            except (re.error, OverflowError, RecursionError):
                self.not_applied.append(f"{name}: {text!r}")
        return found

    def _take_limits(self, rules: DynamicRules) -> None:
        if rules.global_rate_limit is not None:
            self.limits[_EVERY_ROUTE] = (rules.global_rate_limit, max(1, rules.global_rate_window or 60))
        for endpoint, (limit, window_seconds) in rules.endpoint_rate_limits.items():
            if "{" in endpoint:
                self.path_limits.append((path_pattern(endpoint), endpoint, (limit, max(1, window_seconds))))
            else:
                self.limits[endpoint] = (limit, max(1, window_seconds))


class Enforcer:
    """Decides about requests by the rules that were adopted last. Safe from any thread."""

    def __init__(self, geo: Geo | None = None) -> None:
        self.rule_set: RuleSet | None = None
        self._geo = geo
        self._window = SlidingWindow()
        self._agents: dict[str, str | None] = {}

    def adopt(self, rules: DynamicRules | None) -> RuleSet | None:
        """Apply `rules` from now on; None: no rules."""
        self.rule_set = None if rules is None else RuleSet(rules, has_geo=self._geo is not None)
        self._agents = {}
        return self.rule_set

    def decide(self, address: str, path: str, query: str, user_agent: str, now: float) -> Refusal | None:
        """Return why a request is refused, None to let it pass.

        Args:
            address: who asks; a text that is no address is subject to everything but networks.
            path: the path, percent decoded.
            query: the query as it was sent, without `?`.
            user_agent: the header, empty without one.
            now: seconds since 1970.
        """
        rule_set = self.rule_set
        if rule_set is None or now >= rule_set.ends:
            return None
        known = read_address(address)
        if rule_set.rules.emergency_mode:
            return _emergency(rule_set, known)
        if known is not None:
            if rule_set.allowed.hold(known):
                return None
            end = rule_set.bans.end(known)
            if end > now:
                return _banned(end, now)
        return (
            self._place(rule_set, address)
            or self._agent(rule_set, user_agent)
            or self._limit(rule_set, address, path, now)
            or (_pattern(rule_set, path, query) if rule_set.patterns else None)
        )

    def _place(self, rule_set: RuleSet, address: str) -> Refusal | None:
        rules = rule_set.rules
        if self._geo is None or not (
            rules.blocked_countries or rules.whitelist_countries or rules.blocked_cloud_providers
        ):
            return None
        country, cloud = self._geo(address)
        if country and (
            country in rules.blocked_countries
            or (rules.whitelist_countries and country not in rules.whitelist_countries)
        ):
            return Refusal(
                403,
                "country_blocked",
                "Requests from this country are not accepted.",
                EventType.COUNTRY_BLOCKED,
                metadata={"country": country},
            )
        if cloud and cloud in rules.blocked_cloud_providers:
            return Refusal(
                403,
                "cloud_blocked",
                "Requests from this cloud provider are not accepted.",
                EventType.CLOUD_BLOCKED,
                metadata={"cloud": cloud},
            )
        return None

    def _agent(self, rule_set: RuleSet, user_agent: str) -> Refusal | None:
        if not rule_set.agents or not user_agent:
            return None
        agents = self._agents
        if user_agent in agents:
            hit = agents[user_agent]
        else:
            text = user_agent[:LONGEST_TEXT]
            hit = next((entry.pattern for entry in rule_set.agents if entry.search(text)), None)
            if len(agents) >= _MOST_REMEMBERED:
                agents.clear()
            if len(user_agent) <= _LONGEST_REMEMBERED:
                agents[user_agent] = hit
        if hit is None:
            return None
        return Refusal(
            403,
            "user_agent_blocked",
            "This user agent is not accepted.",
            EventType.USER_AGENT_BLOCKED,
            pattern=hit,
        )

    def _limit(self, rule_set: RuleSet, address: str, path: str, now: float) -> Refusal | None:
        if not rule_set.limits and not rule_set.path_limits:
            return None
        for name, (limit, window_seconds) in rule_set.limits_of(path):
            wait = self._window.take((address, name), limit, window_seconds, now)
            if wait:
                return Refusal(
                    429,
                    "rate_limited",
                    f"More than {limit} requests in {window_seconds} seconds.",
                    EventType.RATE_LIMITED,
                    retry_after=max(1, math.ceil(wait)),
                    metadata={"limit": limit, "window_seconds": window_seconds, "route": name or "*"},
                )
        return None


def _emergency(rule_set: RuleSet, address: Address | None) -> Refusal | None:
    if address is not None and (
        rule_set.spared.hold(address)
        or (not rule_set.rules.emergency_whitelist_only and rule_set.allowed.hold(address))
    ):
        return None
    return Refusal(
        503,
        "emergency_mode",
        rule_set.rules.message or "The service accepts no requests at the moment.",
        EventType.EMERGENCY_MODE_BLOCK,
        retry_after=60,
    )


def _banned(end: float, now: float) -> Refusal:
    return Refusal(
        403,
        "address_banned",
        "Requests from this address are not accepted.",
        EventType.IP_BLOCKED,
        retry_after=None if math.isinf(end) else max(1, math.ceil(end - now)),
        metadata={"filter_type": "banned"},
    )


def _pattern(rule_set: RuleSet, path: str, query: str) -> Refusal | None:
    text = f"{path}?{query}"[:LONGEST_TEXT] if query else path[:LONGEST_TEXT]
    forms = {text, unquote_plus(text)} if "%" in text or "+" in text else {text}
    for expression in rule_set.patterns:
        if any(expression.search(form) for form in forms):
            return Refusal(
                403,
                "pattern_blocked",
                "The request was not accepted.",
                EventType.PATTERN_DETECTED,
                pattern=expression.pattern,
            )
    return None


def _bans(rules: DynamicRules) -> dict[str, float]:
    """Return each banned network with its end: exact where `bans` says so, else as long as the document lists it."""
    ends = {ban.net: math.inf if ban.until is None else _seconds(ban.until) for ban in rules.bans}
    exact = {read_network(net) for net in ends} if ends.keys() != set(rules.ip_blacklist) else set()
    for net in rules.ip_blacklist:
        if net not in ends and read_network(net) not in exact - {None}:
            ends[net] = math.inf
    return ends


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
