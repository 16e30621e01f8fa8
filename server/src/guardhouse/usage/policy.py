"""What is promised to whom, and what was found: a policy is a limit on one subject, a verdict the answer for a call."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from guardhouse.foundation.rate_window import DAY, MICROSECONDS, MINUTE

NEVER: Final = -1


@dataclass(frozen=True, slots=True)
class Policy:
    """At most ``limit`` on a subject (``key:…``, ``tenant:…``, ``address:…``) in any ``span`` microseconds.

    ``group`` keeps the windows of one call together on a shared store (a Redis cluster's hash tag).
    """

    name: str
    subject: str
    limit: int
    span: int
    grain: int
    group: str
    place: str = field(init=False)  # what its window is kept under; made once, it is looked up at every call

    def __post_init__(self) -> None:
        """Put name and subject together."""
        object.__setattr__(self, "place", f"{self.name}:{self.subject}")

    @property
    def is_quota(self) -> bool:
        """Whether the span is a day: beyond it a *quota* is exceeded, not a rate."""
        return self.span >= DAY[0]

    @property
    def seconds(self) -> int:
        """The span in seconds."""
        return self.span // MICROSECONDS


class Reading(NamedTuple):
    """One policy's window after a call: what is left, when the oldest cost leaves, and how long a refused call waits.

    ``wait`` is 0 for a policy that would have let the call in, :data:`NEVER` when the cost is above the limit.
    """

    left: int
    leaves: int
    wait: int


@dataclass(slots=True)
class Verdict:
    """What the limits say to one call; readings stand in the order of the policies. Made at every call: not frozen."""

    policies: Sequence[Policy]
    readings: Sequence[Reading]
    degraded: bool = False

    @property
    def admitted(self) -> bool:
        """Whether every policy let the call in; otherwise none was charged."""
        return not any(reading.wait for reading in self.readings)

    @property
    def violated(self) -> list[Policy]:
        """The policies that refused."""
        return [policy for policy, reading in zip(self.policies, self.readings, strict=True) if reading.wait]


def minute(name: str, subject: str, limit: int, group: str) -> Policy:
    """Return a policy over any 60 seconds."""
    return Policy(name, subject, limit, *MINUTE, group)


def day(name: str, subject: str, limit: int, group: str) -> Policy:
    """Return a policy over any 24 hours."""
    return Policy(name, subject, limit, *DAY, group)
