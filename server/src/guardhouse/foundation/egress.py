"""Where the server may connect on behalf of others: the rules of outgoing requests, pure.

A URL is judged before its name is resolved and every address again at the moment of connecting; what the
operator opened by ``GUARDHOUSE_EGRESS_ALLOW`` passes, everything else must be https to a public address.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from yarl import URL

from guardhouse.settings import Settings, parse_allowed_network

MAX_URL_LENGTH: Final = 2048
MAX_HOST_LENGTH: Final = 253
MAX_ADDRESSES: Final = 16

Address = IPv4Address | IPv6Address

# IANA's special-purpose registries and what has grown around them. The list is ours: Python's ``is_global``
# lets 192.88.99/24, 64:ff9b::/96, 2002::/16, 3fff::/20, 5f00::/16, fec0::/10 and multicast pass.
FORBIDDEN: Final = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",  # unspecified, loopback, and the deprecated IPv4-compatible addresses
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
)
_NETWORKS: Final = tuple(ip_network(text) for text in FORBIDDEN)
_UNICAST: Final = IPv6Network("2000::/3")  # all that IANA has given out for global unicast
_NAT64: Final = IPv6Network("64:ff9b::/96")  # where an address stands under 64:ff9b:1::/48 is a local matter

_SHAPE: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(#.*)?")
_HOST_PORT: Final = re.compile(r"(\[[^\]@]*\]|[^\[\]@:]*)(?::[0-9]{0,5})?")
_NAME: Final = re.compile(
    r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")  # what inet_aton would take for an address
_UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029\ud800-\udfff]")


class EgressRefused(Exception):  # noqa: N818 - a verdict; features turn it into their own problem
    """An outgoing connection is against the rules. ``rule`` is a stable short name, the text one sentence.

    The text never says what a name resolved to: that is nobody's business but the operator's.
    """

    def __init__(self, rule: str, sentence: str) -> None:
        super().__init__(sentence)
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that passed: parsed once, this very value is what is sent to. ``host`` is ASCII (IDNA 2008)."""

    url: URL
    scheme: str
    host: str
    port: int
    literal: Address | None

    @property
    def encrypted(self) -> bool:
        """Whether the connection is TLS."""
        return self.scheme == "https"


@dataclass(frozen=True, slots=True)
class Opening:
    """A network that the operator opened; ``port`` None is any."""

    network: IPv4Network | IPv6Network
    port: int | None

    def covers(self, address: Address, port: int) -> bool:
        """Tell whether a connection falls under it."""
        return self.port in {None, port} and address in self.network


@dataclass(frozen=True, slots=True)
class EgressRules:
    """The rules as configured. ``own``: addresses of this machine, which are refused like private ones."""

    allow: tuple[Opening, ...] = ()
    ports: frozenset[int] = frozenset({443, 8443})
    own: frozenset[Address] = frozenset()

    @classmethod
    def from_settings(cls, settings: Settings, own: Iterable[Address] = ()) -> "EgressRules":
        """Return the rules of an installation."""
        allow = tuple(Opening(*parse_allowed_network(text)) for text in settings.egress_allow)
        return cls(allow, frozenset(settings.egress_ports), frozenset(own))

    def check_url(self, url: str) -> Target:
        """Judge a URL without asking the network.

        Raises:
            EgressRefused: against the rules, whatever its name resolves to.
        """
        target = _parse(url)
        if target.literal is not None:
            self._check_literal(target, target.literal)
            return target
        might_be_opened = any(opening.port in {None, target.port} for opening in self.allow)
        if not might_be_opened:
            self._check_scheme_and_port(target.scheme, target.port)
        return target

    def check_address(self, address: Address | str, port: int, *, scheme: str = "https") -> None:
        """Judge an address at the moment of connecting. Every address wrapped inside it must pass too.

        Raises:
            EgressRefused: it may not be reached.
        """
        found = ip_address(address) if isinstance(address, str) else address
        if self.opened(found, port):
            forms: list[Address] = [*_wrapped(found)]
        else:
            self._check_scheme_and_port(scheme, port)
            forms = [found, *_wrapped(found)]
        if any(self._forbidden(form, port) for form in forms):
            raise EgressRefused("address", "The host is at an address that deliveries may not reach.")

    def check_addresses(self, addresses: Iterable[str], port: int, *, scheme: str = "https") -> list[str]:
        """Judge all that a name resolved to; one forbidden address refuses the name.

        Raises:
            EgressRefused: one may not be reached, or there are more than sixteen.
        """
        found = list(dict.fromkeys(addresses))
        if len(found) > MAX_ADDRESSES:
            raise EgressRefused("addresses", f"The host has more than {MAX_ADDRESSES} addresses.")
        for address in found:
            self.check_address(address, port, scheme=scheme)
        return found

    def opened(self, address: Address, port: int) -> bool:
        """Tell whether the operator opened this address and port by name."""
        return any(opening.covers(address, port) for opening in self.allow)

    def _check_literal(self, target: Target, literal: Address) -> None:
        self.check_address(literal, target.port, scheme=target.scheme)
        if not self.opened(literal, target.port):
            raise EgressRefused("literal", "Write a host name; addresses are only taken in opened networks.")

    def _check_scheme_and_port(self, scheme: str, port: int) -> None:
        if scheme == "http":
            raise EgressRefused("scheme", "The URL must be https; http is for opened networks only.")
        if scheme == "https" and port not in self.ports:
            listed = ", ".join(str(number) for number in sorted(self.ports))
            raise EgressRefused("port", f"Port {port} is not among those that may be reached: {listed}.")

    def _forbidden(self, address: Address, port: int) -> bool:
        if self.opened(address, port):
            return False
        if isinstance(address, IPv6Address) and address not in _UNICAST:
            return True
        return address in self.own or any(address in network for network in _NETWORKS)


@lru_cache(4096)  # the same few URLs again and again; parsing is half the cost of a check
def _parse(text: str) -> Target:
    if len(text) > MAX_URL_LENGTH:
        raise EgressRefused("too_long", f"The URL is longer than {MAX_URL_LENGTH} characters.")
    if _UNPRINTABLE.search(text):
        raise EgressRefused("characters", "The URL holds a space, a backslash or a control character.")
    shape = _SHAPE.fullmatch(text)
    if shape is None or shape[1].lower() not in {"http", "https"}:
        raise EgressRefused("scheme", "The URL must begin with https:// and a host.")
    if "@" in shape[2]:
        raise EgressRefused("userinfo", "The URL may not hold a user name or password.")
    if shape[4] is not None:
        raise EgressRefused("fragment", "The URL may not have a fragment (#).")
    if shape[2].startswith("[") and "%" in shape[2]:
        raise EgressRefused("zone_id", "An address may not have a zone id (%).")
    if _HOST_PORT.fullmatch(shape[2]) is None:
        raise EgressRefused("host", "The host is not a name that can be looked up.")
    try:
        url = URL(text)
    except ValueError:
        raise EgressRefused("host", "The URL cannot be read: its host or port is none.") from None
    return _target(url, bracketed=shape[2].startswith("["))


def _target(url: URL, *, bracketed: bool) -> Target:
    host, port = url.raw_host or "", url.port or 0
    if port == 0:
        raise EgressRefused("port", "Port 0 cannot be reached.")
    literal: Address | None = None
    try:
        literal = ip_address(host)
    except ValueError:
        if bracketed or len(host) > MAX_HOST_LENGTH or not _NAME.fullmatch(host):
            raise EgressRefused("host", "The host is not a name that can be looked up.") from None
        if _NUMBER.fullmatch(host):
            raise EgressRefused("host", "The host is a number and no name.") from None
    return Target(url, url.scheme, host, port, literal)


def _wrapped(address: Address) -> Iterator[Address]:
    """Yield the IPv4 addresses that an IPv6 address carries (RFC 4291, 6052, 3056, 4380)."""
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if address in _NAT64:
        yield IPv4Address(int(address) & 0xFFFF_FFFF)
