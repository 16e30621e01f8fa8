"""Who is at the other end of the connection being answered: address and user agent, for records and limits."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """The client of a request. ``address`` is judged by the trusted proxies; None outside any request."""

    address: str | None = None
    user_agent: str | None = None


_NOBODY = Peer()
_current: ContextVar[Peer] = ContextVar("peer", default=_NOBODY)


def current() -> Peer:
    """Return the peer of the request being answered."""
    return _current.get()


def begin(peer: Peer) -> None:
    """Put the peer of a request in force."""
    _current.set(peer)
