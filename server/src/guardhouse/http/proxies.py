"""Who really calls: `X-Forwarded-For` counts from trusted proxies only, read right to left to the first stranger.

`X-Forwarded-Host` and `-Proto` are never read: absolute links and signed authorities come from the public URL.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


def client_address(peer: str | None, forwarded: Sequence[str], trusted: Sequence[Network]) -> str | None:
    """Return the address of the client: the peer, or whom the chain of trusted proxies says it stands for.

    ``forwarded`` are the values of the header, in order. What cannot be read ends the walk at the last proxy.
    """
    here = _parse(peer or "")
    if here is None or not _trusts(trusted, here):
        return peer
    for text in reversed([part for value in forwarded for part in value.split(",")]):
        further = _parse(text.strip())
        if further is None:
            break
        here = further
        if not _trusts(trusted, here):
            break
    return str(here)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]  # an IPv4 address with its port
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _trusts(trusted: Iterable[Network], address: IPv4Address | IPv6Address) -> bool:
    return any(address in network for network in trusted)
