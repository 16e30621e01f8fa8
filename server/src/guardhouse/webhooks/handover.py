"""What fan-out makes goes straight to the dispatcher of the same process that sends it, without being read back.

A hand-over is a short cut and may be left out: whatever is not taken is claimed from the table.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager as Block
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol
from uuid import UUID
from weakref import WeakKeyDictionary

from guardhouse.foundation.resources import Resources
from guardhouse.foundation.wake import Wake
from guardhouse.webhooks.delivery_store import Due


class Offer(Protocol):
    """One dispatcher's readiness during one step of fan-out."""

    @property
    def ids(self) -> frozenset[UUID]:
        """The endpoints it sends for, before the step began and still now."""
        ...

    def give(self, made: Sequence[Due]) -> None:
        """Take deliveries that are committed; those of other endpoints are passed over."""
        ...


Taker = Callable[[], Block[Offer]]
_TAKERS: Final[WeakKeyDictionary[Wake, list[Taker]]] = (
    WeakKeyDictionary()
)  # per process, or per test's Resources


@dataclass(slots=True)
class Offers:
    """What the dispatchers of this process take during one step of fan-out."""

    parts: list[Offer] = field(default_factory=list)
    ids: frozenset[UUID] = frozenset()

    def give(self, made: Sequence[Due]) -> None:
        """Hand over what was made; it must be committed."""
        for part in self.parts if made else ():
            part.give(made)


def register(resources: Resources, taker: Taker) -> Callable[[], None]:
    """Let a dispatcher take part; returns how to end it, which may be done twice."""
    takers = _TAKERS.setdefault(resources.wake, [])
    takers.append(taker)

    def end() -> None:
        if taker in takers:
            takers.remove(taker)

    return end


@contextmanager
def offers(resources: Resources) -> Iterator[Offers]:
    """Ask the dispatchers of this process what they take; to be opened before the step's transaction."""
    with ExitStack() as stack:
        parts = [stack.enter_context(taker()) for taker in tuple(_TAKERS.get(resources.wake, ()))]
        yield Offers(parts, frozenset().union(*(part.ids for part in parts)))
