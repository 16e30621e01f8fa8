"""Whether a rule of an app can be taken: every value that would make an app reject its document is refused here.

Invariant: what passes is in its one spelling, so that equal rules are equal texts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any, Final

from guardhouse.analysis.abuse.compile_rules import NUMBERS, SWITCHES, AppRule
from guardhouse.analysis.abuse.countries import COUNTRIES
from guardhouse.analysis.abuse.networks import OWN_SIDE, Network, read_network, spell
from guardhouse.analysis.abuse.safe_regex import why_unsafe
from guardhouse.analysis.abuse.target import is_range
from guardhouse.foundation.errors import Problem

PROVIDERS: Final = ("AWS", "Azure", "DigitalOcean", "GCP", "Linode", "Vultr")
MOST_REQUESTS: Final = 1_000_000
MOST_SECONDS: Final = 86_400
MOST_NETWORKS: Final = 1000
MOST_TEXT: Final = 500
WIDEST: Final = {4: 8, 6: 16}
RELEASE: Final = timedelta(seconds=600)
_MOST: Final = {"auto_ban_threshold": 1_000_000, "auto_ban_duration": 31_536_000}


class AppRuleInvalid(Problem):
    """A rule of an app cannot be taken; nothing was published."""

    status, code, title = 422, "app_rule_invalid", "App rule invalid"
    remediation = "Correct the members listed in `errors`; each says how."


@dataclass(frozen=True, slots=True)
class Guarded:
    """Addresses that a ban must not hit unless it is forced: the operator's own, the project's, proxies."""

    operator: str | None = None
    never_ban: Sequence[str] = ()
    proxies: Sequence[Network] = ()


NOTHING_GUARDED: Final = Guarded()


@dataclass(slots=True)
class Faults:
    """What is wrong with a body, each with the place of it."""

    found: list[dict[str, str]] = field(default_factory=list)

    def add(self, pointer: str, code: str, detail: str, remediation: str) -> None:
        """Note one fault."""
        self.found.append({"pointer": pointer, "code": code, "detail": detail, "remediation": remediation})

    def raise_any(self) -> None:
        """Refuse if anything is wrong.

        Raises:
            AppRuleInvalid: with every fault.
        """
        if self.found:
            raise AppRuleInvalid(self.found[0]["detail"], errors=self.found)


def checked(rule: AppRule, now: datetime, faults: Faults, where: str) -> AppRule:
    """Return a rule in its one spelling; what is wrong with it is noted under ``where``, a JSON pointer."""
    value = _CHECKS[rule.kind](_Members(rule.value, faults, f"{where}/value"))
    for name, wanted in rule.target.conditions.items():
        if name.endswith("_version") and not is_range(wanted):
            faults.add(
                f"{where}/target/{name}",
                "version_range",
                f"{wanted[:100]!r} is no range of versions.",
                "Write clauses such as >=2.5, parted by commas.",
            )
    rule = replace(rule, value=value)
    if rule.kind == "release_net" and rule.expires_at is None:
        rule = replace(rule, expires_at=max(now, rule.starts_at or now) + RELEASE)
    _check_times(rule, now, faults, where)
    return rule


def check_guarded(rule: AppRule, guarded: Guarded, faults: Faults, where: str) -> None:
    """Note that a ban hits what must not be banned; only ``force`` with a reason passes this by."""
    if rule.kind != "ban_net" or not rule.enabled:
        return
    try:
        net = read_network(str(rule.value.get("net")))
    except ValueError:
        return  # noted already
    found = hit_of(net, guarded)
    if found is not None:
        code, words = found
        faults.add(
            f"{where}/value/net",
            code,
            f"{rule.value['net']} {words}.",
            "Ban a narrower network, or send force and a reason.",
        )


def hit_of(net: Network, guarded: Guarded) -> tuple[str, str] | None:
    """Return the code and the words for what a ban would hit of the guarded addresses; None for nothing."""
    if guarded.operator is not None and _overlaps(net, [guarded.operator]):
        return "own_address", "holds the address that you call from"
    if any(_meets(net, own) for own in OWN_SIDE):
        return "private_network", "holds private or loopback addresses"
    if _overlaps(net, guarded.never_ban):
        return "never_ban", "holds addresses that the project never bans"
    if any(_meets(net, proxy) for proxy in guarded.proxies):
        return "known_proxy", "holds a proxy that this server trusts"
    return None


def _overlaps(net: Network, texts: Sequence[str]) -> bool:
    for text in texts:
        try:
            other = read_network(text)
        except ValueError:
            continue
        if _meets(net, other):
            return True
    return False


def _meets(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _check_times(rule: AppRule, now: datetime, faults: Faults, where: str) -> None:
    if rule.expires_at is not None and rule.expires_at <= now:
        faults.add(
            f"{where}/expires_at", "in_the_past", "The rule ends in the past.", "Set a later end, or none."
        )
    elif None not in (rule.starts_at, rule.expires_at) and rule.starts_at >= rule.expires_at:  # type: ignore[operator]
        faults.add(
            f"{where}/expires_at",
            "before_start",
            "The rule ends before it starts.",
            "Set an end after starts_at.",
        )


class _Members:
    """The members of a value, taken one by one; what is left over or missing is noted."""

    def __init__(self, value: Mapping[str, Any], faults: Faults, where: str) -> None:
        self._value, self._faults, self.where = value, faults, where

    def only(self, *names: str) -> None:
        for name in sorted(set(self._value) - set(names)):
            self.fault(name, "unknown", "There is no such member.", f"Known are {', '.join(names)}.")

    def get(self, name: str) -> Any:
        return self._value.get(name)

    def fault(self, name: str, code: str, detail: str, remediation: str) -> None:
        self._faults.add(f"{self.where}/{name}", code, detail, remediation)

    def text(self, name: str, most: int = MOST_TEXT) -> str:
        found = self.get(name)
        if not isinstance(found, str) or not 0 < len(found) <= most:
            self.fault(name, "text", "A text is needed.", f"Give 1 to {most} characters.")
            return ""
        return found

    def number(self, name: str, most: int) -> int:
        found = self.get(name)
        if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= most:
            self.fault(name, "limit", f"This is no whole number from 1 to {most}.", f"Give 1 to {most}.")
            return 1
        return found

    def flag(self, name: str, *, default: bool | None = None) -> bool:
        found = self._value.get(name, default)
        if not isinstance(found, bool):
            self.fault(name, "boolean", "This is neither true nor false.", "Give true or false.")
            return False
        return found

    def network(self, name: str, text: Any) -> str:
        try:
            net = read_network(text) if isinstance(text, str) else None
        except ValueError:
            net = None
        if net is None:
            self.fault(name, "network", f"{str(text)[:60]!r} is no network.", _spelt(text))
            return ""
        return spell(net)


def _spelt(text: Any) -> str:
    """Return how a text that is no network could be written as one."""
    try:
        near = ip_network(text, strict=False) if isinstance(text, str) else None
    except ValueError:
        near = None
    if near is None:
        return "Write an address such as 203.0.113.7, or a network such as 203.0.113.0/24."
    return f"Bits are set beyond the prefix: write {near}, or {str(text).partition('/')[0]}."


def _net(members: _Members) -> dict[str, Any]:
    members.only("net")
    text = members.network("net", members.get("net"))
    if text:
        net = ip_network(text)
        if net.prefixlen < WIDEST[net.version]:
            members.fault(
                "net",
                "too_wide",
                f"{net} is too wide for one rule.",
                f"Take /{WIDEST[net.version]} or narrower; an emergency rule closes an app to everyone.",
            )
    return {"net": text}


def _country(members: _Members, name: str, text: Any) -> str:
    if not isinstance(text, str) or text.upper() not in COUNTRIES:
        members.fault(
            name, "country", f"{str(text)[:60]!r} is no country.", "Give two letters of ISO 3166, such as DE."
        )
        return ""
    return text.upper()


def _block_country(members: _Members) -> dict[str, Any]:
    members.only("country")
    return {"country": _country(members, "country", members.get("country"))}


def _allow_countries(members: _Members) -> dict[str, Any]:
    members.only("countries")
    found = members.get("countries")
    if not isinstance(found, list) or not found:
        members.fault("countries", "list", "A list of countries is needed.", "Give at least one.")
        return {"countries": []}
    return {"countries": sorted({_country(members, f"countries/{n}", text) for n, text in enumerate(found)})}


def _block_cloud(members: _Members) -> dict[str, Any]:
    members.only("provider")
    if members.get("provider") not in PROVIDERS:
        members.fault(
            "provider", "provider", "There is no such provider.", f"Give one of {', '.join(PROVIDERS)}."
        )
    return {"provider": members.get("provider")}


def _pattern(members: _Members) -> dict[str, Any]:
    members.only("pattern")
    text = members.text("pattern", 1000)
    fault = why_unsafe(text)
    if fault is not None:
        members.fault(
            "pattern",
            "pattern",
            f"The pattern {fault}.",
            "Give a regular expression without repetitions inside repetitions.",
        )
    return {"pattern": text}


def _limit(members: _Members) -> dict[str, Any]:
    return {
        "requests": members.number("requests", MOST_REQUESTS),
        "window_s": members.number("window_s", MOST_SECONDS),
    }


def _limit_global(members: _Members) -> dict[str, Any]:
    members.only("requests", "window_s")
    return _limit(members)


def _limit_endpoint(members: _Members) -> dict[str, Any]:
    members.only("endpoint", "requests", "window_s")
    endpoint = members.text("endpoint")
    if endpoint and (not endpoint.startswith("/") or any(sign.isspace() for sign in endpoint)):
        members.fault("endpoint", "endpoint", "This is no path.", "Give a path such as /login.")
    return {"endpoint": endpoint} | _limit(members)


def _toggle(members: _Members) -> dict[str, Any]:
    members.only("name", "set")
    name = members.get("name")
    if name in SWITCHES:
        return {"name": name, "set": members.flag("set")}
    if name in NUMBERS:
        return {"name": name, "set": members.number("set", _MOST[name])}
    members.fault(
        "name", "switch", "There is no such switch.", f"Give one of {', '.join((*SWITCHES, *NUMBERS))}."
    )
    return {}


def _emergency(members: _Members) -> dict[str, Any]:
    members.only("whitelist", "whitelist_only", "message")
    listed = members.get("whitelist") or []
    if not isinstance(listed, list) or len(listed) > MOST_NETWORKS:
        members.fault("whitelist", "list", "A list of networks is needed.", f"Give at most {MOST_NETWORKS}.")
        listed = []
    message = members.get("message")
    if message is not None:
        message = members.text("message")
    return {
        "whitelist": [members.network(f"whitelist/{n}", text) for n, text in enumerate(listed)],
        "whitelist_only": members.flag("whitelist_only", default=False),
        "message": message,
    }


_CHECKS: Final[Mapping[str, Callable[[_Members], dict[str, Any]]]] = {
    "ban_net": _net,
    "release_net": _net,
    "allow_net": _net,
    "block_country": _block_country,
    "allow_countries": _allow_countries,
    "block_cloud": _block_cloud,
    "block_user_agent": _pattern,
    "block_pattern": _pattern,
    "limit_global": _limit_global,
    "limit_endpoint": _limit_endpoint,
    "toggle": _toggle,
    "emergency": _emergency,
}
