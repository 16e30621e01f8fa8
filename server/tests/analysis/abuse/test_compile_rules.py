"""The document that rules compile into: one for any order of them, with the rules of precedence held."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from guardhouse.analysis.abuse.compile_rules import KINDS, MAX_NETWORKS, AppRule, compile_rules
from guardhouse.analysis.abuse.due import next_due
from guardhouse.analysis.abuse.target import EVERYONE, Target

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
VALUES: dict[str, list[dict[str, Any]]] = {
    "ban_net": [
        {"net": net} for net in ("203.0.113.7", "203.0.113.0/24", "198.51.100.0/30", "2001:db8::/64")
    ],
    "release_net": [{"net": net} for net in ("203.0.113.7", "198.51.100.9")],
    "allow_net": [{"net": net} for net in ("203.0.113.9", "198.51.100.0/24", "2001:db8::/65")],
    "block_country": [{"country": name} for name in ("DE", "FR", "KP")],
    "allow_countries": [{"countries": ["DE", "AT"]}, {"countries": ["CH"]}],
    "block_cloud": [{"provider": "AWS"}, {"provider": "GCP"}],
    "block_user_agent": [{"pattern": "curl"}, {"pattern": "sqlmap"}],
    "block_pattern": [{"pattern": "union select"}, {"pattern": "etc/passwd"}],
    "limit_global": [{"requests": 10, "window_s": 1}, {"requests": 60, "window_s": 60}],
    "limit_endpoint": [
        {"endpoint": "/login", "requests": 5, "window_s": 60},
        {"endpoint": "/login", "requests": 50, "window_s": 60},
        {"endpoint": "/buy", "requests": 9, "window_s": 10},
    ],
    "toggle": [
        {"name": "enable_ip_banning", "set": True},
        {"name": "enable_ip_banning", "set": False},
        {"name": "auto_ban_threshold", "set": 3},
    ],
    "emergency": [
        {"whitelist": ["192.0.2.1"], "whitelist_only": False, "message": "closed"},
        {"whitelist": [], "whitelist_only": True, "message": None},
    ],
}
TARGETS = [EVERYONE, Target(service="web"), Target(environment="prod", tag="eu")]
BASELINE: Mapping[str, Any] = {
    "blocked_countries": ["RU"],
    "endpoint_rate_limits": {"/login": [20, 60]},
    "blocked_user_agents": ["masscan"],
    "global_rate_limit": 100,
    "global_rate_window": 60,
}


@st.composite
def rules(draw: st.DrawFn) -> AppRule:
    kind = draw(st.sampled_from(KINDS))
    starts = draw(st.sampled_from([None, NOON - HOUR, NOON, NOON + HOUR]))
    return AppRule(
        UUID(int=draw(st.integers(1, 2**64))),
        kind,
        draw(st.sampled_from(VALUES[kind])),
        draw(st.sampled_from(TARGETS)),
        draw(st.sampled_from([0, 500, 1000])),
        draw(st.booleans()),
        starts,
        draw(st.sampled_from([None, NOON, NOON + HOUR, NOON + 2 * HOUR])),
    )


def rule(kind: str, n: int = 1, /, **value: Any) -> AppRule:
    return AppRule(UUID(int=n), kind, value)


def compiled(*given_rules: AppRule, baseline: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    return compile_rules(given_rules, NOON, baseline or {}).content


@given(st.lists(rules(), max_size=25, unique_by=lambda rule: rule.id), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_the_order_of_the_rules_makes_no_difference(made: list[AppRule], seed: int) -> None:
    shuffled = random.Random(seed).sample(made, len(made))
    for group in ((), (TARGETS[1],), (TARGETS[2], TARGETS[1])):
        first = compile_rules(made, NOON, BASELINE, group)
        again = compile_rules(shuffled, NOON, BASELINE, tuple(reversed(group)))
        assert list(first.content.items()) == list(again.content.items())
        assert (first.not_served, next_due(made, NOON)) == (again.not_served, next_due(shuffled, NOON))


@given(st.lists(rules(), max_size=25, unique_by=lambda rule: rule.id))
@settings(max_examples=100, deadline=None)
def test_no_allowed_address_is_banned_and_no_banned_one_is_lost(made: list[AppRule]) -> None:
    content = compile_rules(made, NOON, {}).content
    bans = [ip_network(text) for text in content["ip_blacklist"]]
    live = [one for one in made if one.target == EVERYONE and one.holds_at(NOON)]
    allowed = [ip_network(one.value["net"]) for one in live if one.kind == "allow_net"]
    banned = [ip_network(one.value["net"]) for one in live if one.kind == "ban_net"]
    for text in (
        "203.0.113.7",
        "203.0.113.9",
        "203.0.113.200",
        "198.51.100.1",
        "2001:db8::1",
        "2001:db8:0:0:8000::",
    ):
        address = ip_address(text)
        wanted = any(address in net for net in banned) and not any(address in net for net in allowed)
        assert any(address in net for net in bans) == wanted


def test_nothing_in_force_is_a_clear_document_with_every_field() -> None:
    content = compiled()
    assert set(content) == {
        "expires_at", "ttl", "ip_blacklist", "ip_whitelist", "ip_ban_duration", "blocked_countries",
        "whitelist_countries", "global_rate_limit", "global_rate_window", "endpoint_rate_limits",
        "blocked_cloud_providers", "blocked_user_agents", "suspicious_patterns", "enable_penetration_detection",
        "enable_ip_banning", "enable_rate_limiting", "enable_rate_limit_auto_ban", "auto_ban_threshold",
        "auto_ban_duration", "emergency_mode", "emergency_whitelist", "emergency_whitelist_only", "message", "bans",
    }  # fmt: skip
    set_members = {name for name, value in content.items() if value}
    assert set_members == {"ttl", "ip_ban_duration"}
    assert (content["ttl"], content["ip_ban_duration"], content["emergency_mode"]) == (60, 3600, False)


def test_the_tightest_limit_wins_over_rules_and_baseline() -> None:
    limits = [rule("limit_endpoint", n, **value) for n, value in enumerate(VALUES["limit_endpoint"], 1)]
    content = compiled(
        *limits, *(rule("limit_global", 9, **v) for v in VALUES["limit_global"]), baseline=BASELINE
    )
    assert content["endpoint_rate_limits"] == {"/buy": [9, 10], "/login": [5, 60]}
    assert (content["global_rate_limit"], content["global_rate_window"]) == (60, 60)
    assert compiled(baseline=BASELINE)["endpoint_rate_limits"] == {"/login": [20, 60]}


def test_an_emergency_overrides_switches() -> None:
    off = rule("toggle", 1, name="enable_ip_banning", set=False)
    assert compiled(off)["enable_ip_banning"] is False
    content = compiled(off, rule("emergency", 2, **VALUES["emergency"][0]))
    assert (content["enable_ip_banning"], content["enable_penetration_detection"]) == (True, True)
    assert (content["emergency_mode"], content["message"]) == (True, "closed")
    assert content["emergency_whitelist"] == ["192.0.2.1"]


def test_a_net_that_is_banned_is_not_released() -> None:
    ban, release = rule("ban_net", 1, net="203.0.113.7"), rule("release_net", 2, net="203.0.113.7")
    assert compiled(ban, release)["ip_whitelist"] == []
    assert compiled(release)["ip_whitelist"] == ["203.0.113.7"]


def test_the_document_ends_when_all_of_it_does() -> None:
    short = AppRule(UUID(int=1), "block_country", {"country": "DE"}, expires_at=NOON + HOUR)
    long = AppRule(UUID(int=2), "block_country", {"country": "FR"}, expires_at=NOON + 2 * HOUR)
    assert compiled(short, long)["expires_at"] == NOON + 2 * HOUR
    assert compiled(short, long, rule("block_country", 3, country="KP"))["expires_at"] is None


def test_at_most_a_thousand_networks_are_served_the_highest_priority_first() -> None:
    bans = [
        AppRule(UUID(int=n), "ban_net", {"net": f"203.{n // 256}.{n % 256}.1"}, priority=n % 1000)
        for n in range(1, MAX_NETWORKS + 6)
    ]
    found = compile_rules(bans, NOON, {})
    assert len(found.content["ip_blacklist"]) == len(found.content["bans"]) == MAX_NETWORKS
    assert sorted(found.not_served) == sorted(ban.value["net"] for ban in bans if ban.priority <= 2)[:5]
    assert found.content["ip_blacklist"][0] == "203.3.231.1"


def test_bans_are_renewed_in_half_their_time_while_they_outlive_it() -> None:
    def due(ends: timedelta | None, kind: str = "ban_net") -> datetime | None:
        value = VALUES[kind][0]
        expires_at = None if ends is None else NOON + ends
        return next_due([AppRule(UUID(int=1), kind, value, expires_at=expires_at)], NOON)

    assert due(None) == due(HOUR * 5) == NOON + timedelta(seconds=1800)
    assert due(HOUR) == NOON + HOUR  # the app lifts it by then by itself, and is told
    assert due(None, "block_country") is None
    assert due(HOUR, "block_country") == NOON + HOUR
    later = AppRule(UUID(int=1), "ban_net", VALUES["ban_net"][0], starts_at=NOON + HOUR)
    assert next_due([later], NOON) == NOON + HOUR
