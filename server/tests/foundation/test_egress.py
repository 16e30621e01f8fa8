import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.foundation.egress import FORBIDDEN, EgressRefused, EgressRules, Opening
from guardhouse.foundation.own_addresses import own_addresses
from guardhouse.settings import Settings

RULES = EgressRules()
SPECIFIED = """0/8, 10/8, 100.64/10, 127/8, 169.254/16, 172.16/12, 192.0.0/24, 192.0.2/24, 192.88.99/24,
192.168/16, 198.18/15, 198.51.100/24, 203.0.113/24, 224/4, 240/4, ::/128, ::1, ::ffff:0:0/96, 64:ff9b::/96,
64:ff9b:1::/48, 100::/64, 2001::/23, 2001:db8::/32, 2002::/16, 3fff::/20, 5f00::/16, fc00::/7, fe80::/10,
fec0::/10, ff00::/8"""


def rules_with(*openings: str, **more: object) -> EgressRules:
    return EgressRules.from_settings(Settings(egress_allow=list(openings)), **more)  # type: ignore[arg-type] # only own


def refusal(url: str, rules: EgressRules = RULES) -> str:
    with pytest.raises(EgressRefused) as refused:
        rules.check_url(url)
    assert str(refused.value).endswith(".")
    return refused.value.rule


def full(text: str) -> str:
    """Write out a network as RFC drafts shorten it: 192.88.99/24."""
    address, _, length = text.partition("/")
    if ":" not in address:
        address += ".0" * (3 - address.count("."))
    return f"{address}/{length}" if length else address


def spellings(address: IPv4Address) -> Iterator[str]:
    """Yield every way in which inet_aton and URL parsers write one IPv4 address."""
    a, b, c, d = address.packed
    number = int(address)
    yield f"{a}.{b}.{c}.{d}"
    yield str(number)
    yield f"{number:#x}"
    yield f"0{number:o}"
    yield f"{a:#x}.{b:#x}.{c:#x}.{d:#x}"
    yield f"{a:#X}.{b:#X}.{c:#X}.{d:#X}".replace("0X", "0x")
    yield f"0{a:o}.0{b:o}.0{c:o}.0{d:o}"
    yield f"{a:04o}.{b:05o}.{c:06o}.{d:07o}"
    yield f"{a}.{number & 0xFFFFFF}"
    yield f"{a}.{b}.{number & 0xFFFF}"
    yield f"{a:#x}.{number & 0xFFFFFF:#x}"
    yield f"{a}.{b}.{c}.{d}."
    yield f"{a:03}.{b:03}.{c:03}.{d:03}"
    yield "".join(chr(ord(digit) + 0xFEE0) if digit.isdigit() else "。" for digit in f"{a}.{b}.{c}.{d}")
    yield f"%{ord(str(a)[0]):x}{str(a)[1:]}.{b}.{c}.{d}"
    yield f"[::ffff:{a}.{b}.{c}.{d}]"
    yield f"[::ffff:{a:02x}{b:02x}:{c:02x}{d:02x}]"
    yield f"[0:0:0:0:0:ffff:{a}.{b}.{c}.{d}]"
    yield f"[::{a}.{b}.{c}.{d}]"
    yield f"[64:ff9b::{a}.{b}.{c}.{d}]"
    yield f"[64:ff9b:1::{a}.{b}.{c}.{d}]"
    yield f"[2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1]"
    yield f"[2001:0:102:304::{a ^ 255:02x}{b ^ 255:02x}:{c ^ 255:02x}{d ^ 255:02x}]"
    yield f"[{a}.{b}.{c}.{d}]"


V4_EDGES = [
    address
    for network in FORBIDDEN
    if ":" not in network
    for address in (ip_network(network)[0], ip_network(network)[1], ip_network(network)[-1])
]
V6_EDGES = [
    address
    for network in FORBIDDEN
    if ":" in network
    for address in (ip_network(network)[0], ip_network(network)[1], ip_network(network)[-1])
]


@pytest.mark.parametrize("text", [part.strip() for part in SPECIFIED.split(",")])
def test_every_range_of_the_specification_is_refused(text: str) -> None:
    network = ip_network(full(text))
    for address in (network[0], network[-1], network[network.num_addresses // 2]):
        with pytest.raises(EgressRefused) as refused:
            RULES.check_address(address, 443)
        assert refused.value.rule == "address"
        assert str(address) not in str(refused.value)


@pytest.mark.parametrize("address", V4_EDGES, ids=str)
def test_every_spelling_of_a_forbidden_address_is_refused(address: IPv4Address) -> None:
    for spelling in spellings(address):
        assert refusal(f"https://{spelling}/") in {"address", "host"}, spelling
        assert refusal(f"https://{spelling}:8443/") in {"address", "host"}, spelling


@pytest.mark.parametrize("address", V6_EDGES, ids=str)
def test_every_spelling_of_a_forbidden_ipv6_address_is_refused(address: IPv6Address) -> None:
    for spelling in (str(address), address.exploded, str(address).upper()):
        assert refusal(f"https://[{spelling}]/") == "address"


@given(st.integers(0, 2**32 - 1))
def test_whatever_inet_aton_takes_is_no_name(number: int) -> None:
    for spelling in spellings(IPv4Address(number)):
        with pytest.raises(EgressRefused):
            RULES.check_url(f"https://{spelling}/")


@given(st.integers(0, 2**128 - 1))
def test_nothing_but_global_unicast_passes(number: int) -> None:
    address = IPv6Address(number)
    if address not in IPv6Network("2000::/3"):
        with pytest.raises(EgressRefused):
            RULES.check_address(address, 443)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.215.14", "172.15.255.255", "172.32.0.0", "2606:4700::1"]
)
def test_public_addresses_pass_behind_a_name_but_not_as_literals(address: str) -> None:
    RULES.check_address(address, 443)
    RULES.check_address(address, 8443)
    literal = f"[{address}]" if ":" in address else address
    assert refusal(f"https://{literal}/") == "literal"


@pytest.mark.parametrize("address", ["10.0.0.1", "0x7f.1", "not an address"])
def test_text_that_is_no_address_never_passes(address: str) -> None:
    with pytest.raises((EgressRefused, ValueError)):
        RULES.check_address(address, 443)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://hooks.example/", "scheme"),
        ("ftp://hooks.example/", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("gopher://hooks.example/", "scheme"),
        ("//hooks.example/", "scheme"),
        ("hooks.example", "scheme"),
        ("https:hooks.example", "scheme"),
        ("javascript:alert(1)", "scheme"),
        ("", "scheme"),
        ("https://user@hooks.example/", "userinfo"),
        ("https://user:pass@hooks.example/", "userinfo"),
        ("https://@hooks.example/", "userinfo"),
        ("https://hooks.example@127.0.0.1/", "userinfo"),
        ("https://127.0.0.1:80@hooks.example/", "userinfo"),
        ("https://a@b@hooks.example/", "userinfo"),
        ("https://hooks.example/#x", "fragment"),
        ("https://hooks.example#@127.0.0.1/", "fragment"),
        ("https://hooks.example/#", "fragment"),
        ("https://hooks.example\\@127.0.0.1/", "characters"),
        ("https://hooks.example /", "characters"),
        ("https://hooks.example\t/", "characters"),
        ("https://hooks.example/\r\nHost: x", "characters"),
        ("https://hooks.exa\u200bmple\x00/", "characters"),
        ("https://hooks.example/\ud800", "characters"),
        (" https://hooks.example/", "characters"),
        ("https://[fe80::1%25eth0]/", "zone_id"),
        ("https://[fe80::1%eth0]/", "zone_id"),
        ("https://hooks.example:22/", "port"),
        ("https://hooks.example:80/", "port"),
        ("https://hooks.example:0/", "port"),
        ("https://hooks.example:6379/", "port"),
        ("https://hooks.example:99999/", "host"),
        ("https://hooks.example:+443/", "host"),
        ("https://hooks.example:\uff14\uff14\uff13/", "host"),
        ("https://hooks.example:443:443/", "host"),
        ("https://", "host"),
        ("https:///path", "host"),
        ("https://:443/", "host"),
        ("https://a..example/", "host"),
        ("https://.example/", "host"),
        ("https://hooks.example./", "host"),
        ("https://-a.example/", "host"),
        ("https://a-.example/", "host"),
        ("https://hooks%2eexample/", "host"),
        ("https://hooks.example%00/", "host"),
        ("https://[v1.fe80]/", "host"),
        ("https://[::1/", "host"),
        ("https://::1/", "host"),
        ("https://[hooks.example]/", "host"),
        (f"https://{'a' * 64}.example/", "host"),
        (f"https://{'a.' * 127}example/", "host"),
        ("https://1/", "host"),
        ("https://hooks.0x/", "host"),
        ("https://hooks.0x7f000001/", "host"),
        ("https://hooks.1/", "host"),
        ("https://xn--/", "host"),
        ("https://a\u2100b.example/", "host"),
        ("https://hooks.example/" + "a" * 2048, "too_long"),
    ],
)
def test_tricks_are_refused_by_rule(url: str, rule: str) -> None:
    assert refusal(url) == rule


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://hooks.example", "hooks.example", 443),
        ("HTTPS://HOOKS.Example:8443/a?b=c", "hooks.example", 8443),
        ("https://hooks.example:/", "hooks.example", 443),
        ("https://faß.de/", "xn--fa-hia.de", 443),
        ("https://bücher.example/", "xn--bcher-kva.example", 443),
        ("https://\uff48\uff4f\uff4f\uff4b\uff53.example/", "hooks.example", 443),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443),
        ("https://a_b.hooks.example/", "a_b.hooks.example", 443),
        ("https://3com.example/", "3com.example", 443),
        ("https://hooks.example/@user", "hooks.example", 443),
        ("https://hooks.example/" + "a" * 2026, "hooks.example", 443),
    ],
)
def test_good_urls_pass_and_are_parsed_once(url: str, host: str, port: int) -> None:
    target = RULES.check_url(url)
    assert (target.scheme, target.host, target.port, target.literal) == ("https", host, port, None)
    assert target.url.raw_host == host


@pytest.mark.parametrize("address", ["ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "localhost"])
def test_a_name_is_left_to_its_addresses(address: str) -> None:
    assert RULES.check_url(f"https://{address}/").host == "localhost"


def test_own_addresses_are_refused() -> None:
    rules = EgressRules(own=frozenset({ip_address("93.184.215.14")}))
    with pytest.raises(EgressRefused):
        rules.check_address("93.184.215.14", 443)
    rules.check_address("93.184.215.15", 443)


# What the operator opened


def test_an_opening_covers_its_network_and_port_alone() -> None:
    rules = rules_with("10.1.0.0/16:9000", "127.0.0.1:*")
    rules.check_address("10.1.2.3", 9000, scheme="http")
    rules.check_address("127.0.0.1", 1, scheme="http")
    for address, port, scheme in (
        ("10.1.2.3", 9001, "https"),
        ("10.1.2.3", 443, "https"),
        ("10.2.0.1", 9000, "https"),
        ("127.0.0.2", 443, "https"),
        ("93.184.215.14", 443, "http"),
        ("93.184.215.14", 9000, "https"),
        ("::ffff:127.0.0.1", 443, "https"),
        ("::ffff:10.1.2.3", 9000, "https"),
    ):
        with pytest.raises(EgressRefused):
            rules.check_address(address, port, scheme=scheme)


def test_urls_into_an_opening_pass() -> None:
    rules = rules_with("10.1.0.0/16:9000", "fd00::/8:*")
    assert rules.check_url("http://10.1.2.3:9000/x").literal == ip_address("10.1.2.3")
    assert rules.check_url("https://[fd00::1]:7000/x").literal == ip_address("fd00::1")
    assert rules.check_url("http://name.example:1234/").port == 1234  # its addresses decide
    only_port = rules_with("10.1.0.0/16:9000")
    only_port.check_url("http://name.example:9000/")
    assert refusal("http://name.example:9001/", only_port) == "scheme"
    assert refusal("https://name.example:9001/", only_port) == "port"
    assert refusal("http://10.2.0.1:9000/", only_port) == "scheme"
    assert refusal("https://user@10.1.2.3:9000/", only_port) == "userinfo"


def test_an_opened_translating_prefix_opens_nothing_behind_it() -> None:
    rules = rules_with("64:ff9b::/96:443")
    rules.check_address("64:ff9b::93.184.215.14", 443)
    with pytest.raises(EgressRefused):
        rules.check_address("64:ff9b::10.0.0.1", 443)


def test_configured_ports_replace_the_usual_ones() -> None:
    rules = EgressRules.from_settings(Settings(egress_ports=[9443]))
    rules.check_url("https://hooks.example:9443/")
    assert refusal("https://hooks.example/", rules) == "port"


def test_the_list_holds_what_python_lets_pass() -> None:
    for address in ("192.88.99.1", "64:ff9b::1", "2002::1", "3fff::1", "5f00::1", "fec0::1", "224.0.0.1"):
        with pytest.raises(EgressRefused):
            RULES.check_address(address, 443)


def test_the_platforms_resolver_agrees_on_what_a_number_is() -> None:
    """What inet_aton reads as an address is refused as a name, however the platform would take it."""
    for spelling in ("127.1", "0x7f.1", "2130706433", "017700000001", "0x7f000001"):
        assert socket.inet_aton(spelling) == b"\x7f\0\0\1"
        assert refusal(f"https://{spelling}/") == "host"


def test_openings_are_read_from_settings() -> None:
    rules = EgressRules.from_settings(Settings(egress_allow=["10.0.0.0/8:443", "fd00::/8:*"]))
    assert [(str(o.network), o.port) for o in rules.allow] == [("10.0.0.0/8", 443), ("fd00::/8", None)]
    assert Opening(rules.allow[0].network, 443).covers(ip_address("10.9.9.9"), 443)


def test_the_machine_knows_its_addresses() -> None:
    assert ip_address("127.0.0.1") in set(own_addresses())
