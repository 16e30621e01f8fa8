"""What the rules refuse, in which order, and what they leave alone."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard_agent._net.limits import SlidingWindow
from guard_agent.enforce import Enforcer, Refusal
from guard_agent.models import DynamicRules

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
SECONDS = NOW.timestamp()
CLIENT = "203.0.113.7"


def decide(
    rules: dict[str, Any], address: str = CLIENT, *, geo: Any = None, **request: Any
) -> Refusal | None:
    enforcer = Enforcer(geo)
    enforcer.adopt(DynamicRules(**rules))
    asked: dict[str, Any] = {
        "path": "/items/1",
        "query": "",
        "user_agent": "browser",
        "now": SECONDS,
    } | request
    return enforcer.decide(address, **asked)


@pytest.mark.parametrize(
    ("net", "address", "banned"),
    [
        ("203.0.113.7", CLIENT, True),
        ("203.0.113.7/32", CLIENT, True),
        ("203.0.113.0/24", CLIENT, True),
        ("203.0.113.99/24", CLIENT, True),
        ("203.0.112.0/24", CLIENT, False),
        ("0.0.0.0/0", CLIENT, True),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("2001:db8::/32", "2001:db8:1::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        ("203.0.113.0/24", "::ffff:203.0.113.7", True),
        ("::ffff:203.0.113.0/120", CLIENT, True),
        ("203.0.113.0/24", "203.0.113.7:8080", True),
        ("2001:db8::/32", "[2001:db8::1]:443", True),
        ("2001:db8::/32", "2001:db8::1%eth0", True),
        ("203.0.113.0/24", "unknown", False),
        ("203.0.113.0/24", "", False),
    ],
)
def test_a_ban_holds_for_the_addresses_of_its_network(net: str, address: str, *, banned: bool) -> None:
    refusal = decide({"ip_blacklist": [net]}, address)
    assert (refusal is not None) is banned
    if refusal is not None:
        assert (refusal.status, refusal.code, refusal.event_type) == (403, "address_banned", "ip_blocked")
        assert refusal.metadata == {"filter_type": "banned"}


@pytest.mark.parametrize(
    "bad", ["10.0.0.0/33", "10.0.0.0/x", "10.0.0.0/-1", "300.1.1.1", "", "x", "::/129", "1.2.3.4\x00"]
)
def test_what_is_no_network_is_left_out_and_named(bad: str) -> None:
    enforcer = Enforcer()
    rule_set = enforcer.adopt(DynamicRules(ip_blacklist=[bad, CLIENT], ip_whitelist=[bad]))
    assert rule_set is not None
    assert rule_set.not_applied == [f"ip_whitelist: {bad!r}", f"ip_blacklist: {bad!r}"]
    assert enforcer.decide(CLIENT, "/", "", "", SECONDS) is not None


def test_a_ban_ends_at_the_moment_it_names() -> None:
    until = NOW + timedelta(seconds=90)
    rules = {"ip_blacklist": ["203.0.113.7/32"], "bans": [{"net": CLIENT, "until": until}]}
    refusal = decide(rules)
    assert refusal is not None
    assert refusal.retry_after == 90
    assert decide(rules, now=SECONDS + 89.9) is not None
    assert decide(rules, now=SECONDS + 90) is None


def test_of_two_bans_the_later_end_counts() -> None:
    bans = [
        {"net": "203.0.113.0/24", "until": NOW + timedelta(hours=2)},
        {"net": CLIENT, "until": NOW + timedelta(hours=1)},
    ]
    assert decide({"bans": bans}, now=SECONDS + 5400) is not None
    assert decide({"bans": [*bans, {"net": "203.0.0.0/16", "until": None}]}, now=SECONDS + 1e6) is not None


def test_a_document_past_its_end_refuses_nothing() -> None:
    rules = {"ip_blacklist": [CLIENT], "expires_at": NOW}
    assert decide(rules, now=SECONDS - 1) is not None
    assert decide(rules) is None


ORDER: list[tuple[dict[str, Any], str]] = [
    ({"emergency_mode": True}, "emergency_mode"),
    ({"ip_blacklist": [CLIENT]}, "address_banned"),
    ({"blocked_countries": ["XX"]}, "country_blocked"),
    ({"blocked_cloud_providers": ["AWS"]}, "cloud_blocked"),
    ({"blocked_user_agents": ["^brow"]}, "user_agent_blocked"),
    ({"global_rate_limit": 0, "global_rate_window": 10}, "rate_limited"),
    ({"suspicious_patterns": ["items"]}, "pattern_blocked"),
]


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_the_first_rule_in_the_order_decides(first: int) -> None:
    rules: dict[str, Any] = {}
    for part, _ in ORDER[first:]:
        rules |= part
    refusal = decide(rules, geo=lambda _address: ("XX", "AWS"))
    assert refusal is not None
    assert refusal.code == ORDER[first][1]


def test_allowed_networks_pass_everything_but_an_emergency() -> None:
    rules: dict[str, Any] = {"ip_whitelist": ["203.0.113.0/24"]}
    for part, _ in ORDER[1:]:
        rules |= part
    assert decide(rules, geo=lambda _address: ("XX", "AWS")) is None


@pytest.mark.parametrize(
    ("more", "passes"),
    [
        ({}, False),
        ({"emergency_whitelist": ["203.0.113.0/24"]}, True),
        ({"ip_whitelist": [CLIENT]}, True),
        ({"ip_whitelist": [CLIENT], "emergency_whitelist_only": True}, False),
        ({"emergency_whitelist": [CLIENT], "emergency_whitelist_only": True}, True),
    ],
)
def test_an_emergency_lets_only_its_list_through(more: dict[str, Any], *, passes: bool) -> None:
    refusal = decide({"emergency_mode": True, "message": "Back at noon."} | more)
    assert (refusal is None) is passes
    if refusal is not None:
        assert (refusal.status, refusal.detail) == (503, "Back at noon.")


@pytest.mark.parametrize(
    ("switch", "rules"),
    [
        ("enable_ip_banning", {"ip_blacklist": [CLIENT]}),
        ("enable_rate_limiting", {"global_rate_limit": 0, "endpoint_rate_limits": {"/items/{id}": (0, 5)}}),
        ("enable_penetration_detection", {"suspicious_patterns": ["items"]}),
    ],
)
def test_switches_turn_kinds_of_rules_off(switch: str, rules: dict[str, Any]) -> None:
    assert decide(rules) is not None
    assert decide(rules | {switch: True}) is not None
    assert decide(rules | {switch: False}) is None


@pytest.mark.parametrize(("country", "refused"), [("DE", False), ("XX", True), ("FR", True), (None, False)])
def test_countries(country: str | None, *, refused: bool) -> None:
    rules = {"blocked_countries": ["XX"], "whitelist_countries": ["DE"]}
    assert (decide(rules, geo=lambda _address: (country, None)) is not None) is refused


def test_rules_that_cannot_be_applied_are_named() -> None:
    rule_set = Enforcer().adopt(
        DynamicRules(
            blocked_countries=["XX"],
            blocked_cloud_providers={"AWS"},
            blocked_user_agents=["(", "curl"],
            suspicious_patterns=[f"p{number}" for number in range(51)],
            auto_ban_threshold=5,
        )
    )
    assert rule_set is not None
    assert rule_set.not_applied == [
        "blocked_user_agents: '('",
        "suspicious_patterns: 'p50'",
        "blocked_countries: no geo callable",
        "blocked_cloud_providers: no geo callable",
        "auto_ban: addresses are banned by the platform's policies",
    ]


@pytest.mark.parametrize(
    ("path", "query", "hit"),
    [
        ("/items/1", "q=<ScRipt>", True),
        ("/items/1", "q=%3Cscript%3E", True),
        ("/items/1", "q=union+select", True),
        ("/<script>", "", True),
        ("/items/1", "q=ok", False),
        ("/items/1", "q=" + "a" * 3000 + "<script>", False),
    ],
)
def test_patterns_see_path_and_query(path: str, query: str, *, hit: bool) -> None:
    refusal = decide({"suspicious_patterns": ["<script>", "union select"]}, path=path, query=query)
    assert (refusal is not None) is hit
    if refusal is not None:
        assert refusal.pattern in {"<script>", "union select"}


def test_limits_count_per_address_and_route() -> None:
    enforcer = Enforcer()
    enforcer.adopt(
        DynamicRules(
            global_rate_limit=5,
            global_rate_window=10,
            endpoint_rate_limits={"/login": (2, 10), "/u/{id}/x": (1, 10)},
        )
    )

    def ask(path: str, address: str = CLIENT, after: float = 0.0) -> Refusal | None:
        return enforcer.decide(address, path, "", "", SECONDS + after)

    assert [ask("/login") is None for _ in range(3)] == [True, True, False]
    assert ask("/login", "203.0.113.8") is None
    assert [ask("/u/7/x") is None for _ in range(2)] == [True, False]
    refusal = ask("/u/8/x")
    assert refusal is not None
    assert (
        refusal.metadata == {"limit": 5, "window_seconds": 10, "route": "*"}
        or refusal.metadata["route"] == "/u/{id}/x"
    )
    assert (refusal.status, refusal.code) == (429, "rate_limited")
    assert refusal.retry_after is not None
    assert ask("/login", after=20.0) is None


@given(
    limit=st.integers(1, 8),
    window=st.integers(1, 20),
    steps=st.lists(st.floats(0.0, 5.0), min_size=1, max_size=60),
)
def test_a_sliding_window_never_lets_more_than_two_windows_worth_through(
    limit: int, window: int, steps: list[float]
) -> None:
    counter, now, passed = SlidingWindow(), SECONDS, []
    for step in steps:
        now += step
        wait = counter.take(("a", ""), limit, window, now)
        assert 0.0 <= wait <= 2 * window
        if wait == 0.0:
            passed.append(now)
        # Within one fixed window never more than the limit; over any span of a window less than twice that.
        fixed = math.floor(now / window)
        assert sum(math.floor(moment / window) == fixed for moment in passed) <= limit
        assert sum(moment > now - window for moment in passed) <= 2 * limit


@given(limit=st.integers(1, 5), window=st.integers(1, 20), offset=st.floats(0, 20))
def test_who_waits_as_long_as_told_gets_through(limit: int, window: int, offset: float) -> None:
    counter, now = SlidingWindow(), SECONDS + offset
    for _ in range(limit):
        counter.take(("a", ""), limit, window, now)
    wait = counter.take(("a", ""), limit, window, now)
    if wait:
        assert counter.take(("a", ""), limit, window, now + wait + 1e-6) == 0.0


def test_a_window_forgets_the_keys_that_are_silent() -> None:
    counter = SlidingWindow()
    for number in range(60_000):
        counter.take((str(number), ""), 1, 60, SECONDS)
    assert len(counter._counts) <= 50_000
    assert counter.take(("59999", ""), 1, 60, SECONDS) > 0


def test_without_rules_everything_passes() -> None:
    enforcer = Enforcer()
    assert enforcer.decide(CLIENT, "/", "", "", SECONDS) is None
    enforcer.adopt(DynamicRules(ip_blacklist=[CLIENT]))
    enforcer.adopt(None)
    assert enforcer.decide(CLIENT, "/", "", "", SECONDS) is None
    enforcer.adopt(DynamicRules())
    assert enforcer.decide(CLIENT, "/", "", "", SECONDS) is None


texts = st.text(max_size=20)
documents = st.fixed_dictionaries(
    {},
    optional={
        "ip_blacklist": st.lists(texts | st.ip_addresses().map(str), max_size=5),
        "ip_whitelist": st.lists(texts | st.ip_addresses().map(str), max_size=5),
        "bans": st.lists(
            st.fixed_dictionaries({"net": texts, "until": st.none() | st.datetimes().map(str)}), max_size=3
        ),
        "expires_at": st.none() | st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis wants it so
        "blocked_user_agents": st.lists(texts, max_size=3),
        "suspicious_patterns": st.lists(texts, max_size=3),
        "blocked_countries": st.lists(texts, max_size=2),
        "global_rate_limit": st.none() | st.integers(-5, 5),
        "global_rate_window": st.none() | st.integers(-5, 5),
        "endpoint_rate_limits": st.dictionaries(
            texts, st.tuples(st.integers(-5, 5), st.integers(-5, 5)), max_size=3
        ),
        "emergency_mode": st.booleans(),
        "emergency_whitelist": st.lists(texts, max_size=2),
        "message": st.none() | texts,
    },
)


@given(documents, st.lists(st.tuples(texts | st.ip_addresses().map(str), texts, texts, texts), max_size=8))
def test_no_document_and_no_request_makes_it_raise(
    document: dict[str, Any], requests: list[tuple[str, ...]]
) -> None:
    enforcer = Enforcer(lambda _address: ("XX", None))
    enforcer.adopt(DynamicRules(**document))
    for address, path, query, agent in requests:
        refusal = enforcer.decide(address, path, query, agent, SECONDS)
        assert refusal is None or refusal.status in {403, 429, 503}
        assert refusal is None or refusal.retry_after is None or refusal.retry_after >= 1
