"""Who asks: the peer of the connection, or whom a trusted proxy names.

A header counts only where the peer is a trusted proxy. Its hops are read from the end, which is what the nearest proxy
wrote; the first that is no trusted proxy itself is the client. Whatever stands before it anybody may have written.
"""

from collections.abc import Iterable

from guard_agent._net.addresses import Networks, read_address

_MOST_HOPS = 50
_MOST_REMEMBERED = 4096


class ClientAddress:
    """Finds the address of the client behind the networks `trusted`.

    Raises:
        ValueError: an entry of `trusted` is no network; `*` stands for every address.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        entries = list(trusted)
        self._networks = Networks.for_ever(entry for entry in entries if entry != "*")
        if self._networks.unreadable:
            raise ValueError(
                f"trusted_proxies holds what is no network: {', '.join(self._networks.unreadable)}"
            )
        self._all = "*" in entries
        self.trusts_nobody = not entries
        self._known: dict[str, bool] = {}

    def find(self, peer: str, forwarded_for: str | None, forwarded: str | None) -> str:
        """Return the client of a request: `forwarded_for` is `X-Forwarded-For`, `forwarded` the header of RFC 7239."""
        if self.trusts_nobody or not self._is_trusted(peer):
            return peer
        if forwarded_for:
            hops = forwarded_for.split(",")
        elif forwarded:
            hops = _hops(forwarded)
        else:
            return peer
        client = peer
        for hop in reversed(hops[-_MOST_HOPS:]):
            address = read_address(hop)
            if address is None:
                return client  # a hop that hides itself ends what can be known
            client = _bare(hop)
            if not self._is_trusted(client):
                return client
        return client

    def _is_trusted(self, text: str) -> bool:
        known = self._known.get(text)
        if known is None:
            address = read_address(text)
            known = self._all or (address is not None and self._networks.hold(address))
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[text] = known
        return known


def _bare(hop: str) -> str:
    text = hop.strip()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _hops(forwarded: str) -> list[str]:
    """Return the `for=` of each element of a `Forwarded` header, `unknown` where it has none."""
    return [
        next(
            (
                value.strip().strip('"')
                for name, _, value in (pair.partition("=") for pair in element.split(";"))
                if name.strip().lower() == "for"
            ),
            "unknown",
        )
        for element in forwarded.split(",")
    ]
