"""Who asks, behind proxies and behind liars."""

import pytest

from guard_agent._net.client_address import ClientAddress

PROXIES = ("10.0.0.0/8", "2001:db8:ffff::/48")


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "forwarded", "client"),
    [
        ("203.0.113.7", None, None, "203.0.113.7"),
        ("203.0.113.7", "198.51.100.1", None, "203.0.113.7"),
        ("10.0.0.1", None, None, "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", None, "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1", None, "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1, 10.2.3.4", None, "198.51.100.1"),
        ("10.0.0.1", "10.9.9.9, 10.2.3.4", None, "10.9.9.9"),
        ("10.0.0.1", "198.51.100.1:5555", None, "198.51.100.1"),
        ("10.0.0.1", "[2001:db8::7]:5555", None, "2001:db8::7"),
        ("10.0.0.1", "1.1.1.1, unknown, 10.2.3.4", None, "10.2.3.4"),
        ("10.0.0.1", "<script>", None, "10.0.0.1"),
        ("10.0.0.1", ",,,", None, "10.0.0.1"),
        ("2001:db8:ffff::1", "2001:db8::7", None, "2001:db8::7"),
        ("10.0.0.1", None, "for=198.51.100.1;proto=https", "198.51.100.1"),
        ("10.0.0.1", None, 'for=1.1.1.1, For="[2001:db8::7]:4711";by=10.0.0.1', "2001:db8::7"),
        ("10.0.0.1", None, "by=10.0.0.1", "10.0.0.1"),
        ("10.0.0.1", None, "for=_hidden", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "for=1.1.1.1", "198.51.100.1"),
        ("unix:", "198.51.100.1", None, "unix:"),
    ],
)
def test_the_client_is_the_nearest_hop_that_is_no_trusted_proxy(
    peer: str, forwarded_for: str | None, forwarded: str | None, client: str
) -> None:
    assert ClientAddress(PROXIES).find(peer, forwarded_for, forwarded) == client


def test_without_trusted_proxies_headers_mean_nothing() -> None:
    assert ClientAddress(()).find("10.0.0.1", "198.51.100.1", "for=198.51.100.1") == "10.0.0.1"


def test_every_peer_can_be_trusted() -> None:
    addresses = ClientAddress(("*",))
    assert addresses.find("", "1.1.1.1, 198.51.100.1", None) == "1.1.1.1"
    assert addresses.find("unix:", "198.51.100.1", None) == "198.51.100.1"


def test_the_memory_for_known_peers_is_bounded() -> None:
    addresses = ClientAddress(PROXIES)
    for number in range(10_000):
        addresses.find(f"10.{number >> 8}.{number & 255}.1", "198.51.100.1", None)
    assert len(addresses._known) <= 4096
