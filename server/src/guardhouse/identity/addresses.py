"""From which addresses a credential may be used: networks in CIDR, IPv4 inside IPv6 taken for what it is."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from guardhouse.foundation.errors import Problem, ValidationFailed


class AddressNotAllowed(Problem):
    """The credential is good, but not from this address."""

    status, code, title = 403, "address_not_allowed", "Address not allowed"
    remediation = "Call from a network in the key's ip_allow, or let an admin change that list."


def parse_networks(given: Sequence[str], pointer: str = "/ip_allow") -> tuple[str, ...]:
    """Return networks as they are stored: each once, `10.0.0.1` as `10.0.0.1/32`.

    Raises:
        ValidationFailed: one is neither an address nor a network, or has bits set right of its mask.
    """
    found, errors = [], []
    for place, text in enumerate(given):
        try:
            found.append(str(ip_network(text)))
        except ValueError as error:
            errors.append({"pointer": f"{pointer}/{place}", "code": "network", "detail": str(error)[:200]})
    if errors:
        raise ValidationFailed("There are entries that are no networks.", errors=errors)
    return tuple(dict.fromkeys(found))


def check_address(allowed: Iterable[str], address: str | None) -> None:
    """Insist that an address is in one of the networks; no network at all allows every address.

    Raises:
        AddressNotAllowed: it is in none of them, or it is not known.
    """
    networks = _networks(tuple(allowed))
    if not networks:
        return
    found = plain_address(address)
    if found is None or not any(found in network for network in networks):
        raise AddressNotAllowed("This credential may not be used from where the request comes from.")


def plain_address(text: str | None) -> IPv4Address | IPv6Address | None:
    """Return the address that a text means; an IPv4 address inside an IPv6 one counts as IPv4."""
    try:
        found = ip_address(text or "")
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


@lru_cache(maxsize=1024)
def _networks(allowed: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(text) for text in allowed)
