"""Networks of addresses as rules write them: one spelling each, and what is left of some without others."""

from bisect import bisect_left
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

Network = IPv4Network | IPv6Network

# Nobody on the public Internet has an address in these: a ban here hits the operator's own side.
OWN_SIDE: Final[tuple[Network, ...]] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::/127",
        "fc00::/7",
        "fe80::/10",
    )
)


def read_network(text: str) -> Network:
    """Return the network that a text names; an IPv4 network in IPv6 clothes is that IPv4 network.

    Raises:
        ValueError: no network, or an address with bits beyond its prefix.
    """
    network = ip_network(text.strip())
    if isinstance(network, IPv6Network):
        mapped = network.network_address.ipv4_mapped
        mapped_bits = network.prefixlen - 96
        if mapped is not None and mapped_bits >= 0:
            return IPv4Network((mapped, mapped_bits))
    return network


def spell(network: Network) -> str:
    """Return how agents read a network: an address alone without its prefix."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)


class Holes:
    """Networks to be taken out of others, laid out so that each of many asks a few of them only."""

    def __init__(self, holes: Iterable[Network]) -> None:
        self._sorted = sorted({(n.version, int(n.network_address), n.prefixlen, n) for n in holes})
        self._starts = [(version, first) for version, first, _, _ in self._sorted]
        self._known = {hole[3] for hole in self._sorted}
        self._lengths = {(version, length) for version, _, length, _ in self._sorted}

    def left_of(self, network: Network) -> list[Network]:
        """Return what is left of a network, in order; nothing when a hole holds all of it."""
        if self._covers(network):
            return []
        first = int(network.network_address)
        begin = bisect_left(self._starts, (network.version, first))
        end = bisect_left(self._starts, (network.version, first + network.num_addresses))
        left: list[Network] = [network]
        for *_, hole in self._sorted[begin:end]:
            left = [part for piece in left for part in _without(piece, hole)]
        return sorted(left, key=lambda n: (int(n.network_address), n.prefixlen))

    def _covers(self, network: Network) -> bool:
        return any(
            network.supernet(new_prefix=length) in self._known
            for length in range(network.prefixlen + 1)
            if (network.version, length) in self._lengths
        )


def _without(piece: Network, hole: Network) -> list[Network]:
    if isinstance(piece, IPv4Network) and isinstance(hole, IPv4Network):
        if hole.supernet_of(piece):
            return []
        return list(piece.address_exclude(hole)) if hole.subnet_of(piece) else [piece]
    if isinstance(piece, IPv6Network) and isinstance(hole, IPv6Network):
        if hole.supernet_of(piece):
            return []
        return list(piece.address_exclude(hole)) if hole.subnet_of(piece) else [piece]
    return [piece]
