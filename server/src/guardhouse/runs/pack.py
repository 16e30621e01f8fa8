"""What a pack is: a kind of metered work. Installed ones are found by the entry-point group ``guardhouse.packs``.

A pack works outside of any transaction. It charges its meter as it goes and stops where the meter says so; what it
returns is only given to the client once it has been paid for.
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, Protocol, TypeVar
from uuid import UUID

from pydantic import BaseModel

from guardhouse.foundation.money import LEAST_MICROS, round_up
from guardhouse.foundation.resources import Resources

MOST_ARTIFACTS: Final = 20
T = TypeVar("T")

Fault = Literal[
    "PACK_INPUT_REJECTED",
    "URL_BLOCKED",
    "UPSTREAM_TIMEOUT",
    "PACK_EXECUTION_FAILED",
]


class Rejected(Exception):  # noqa: N818 - a verdict on the request
    """The request's own fault: it costs the minimum fee. ``detail`` is shown to the client."""

    def __init__(self, code: Fault, detail: str) -> None:
        super().__init__(detail)
        self.code: Fault = code
        self.detail = detail


class BudgetExhausted(Exception):  # noqa: N818 - an order to stop
    """The next step would cost more than is held."""


class TimeboxExceeded(Exception):  # noqa: N818 - an order to stop
    """The run's own time is over."""


class Cancelled(Exception):  # noqa: N818 - an order to stop
    """Somebody has asked for the end of the run."""


@dataclass(frozen=True, slots=True)
class Timebox:
    """How long a run may work, in seconds: unless asked otherwise, and at most."""

    usual: int = 90
    most: int = 90


@dataclass(frozen=True, slots=True)
class Quote:
    """What a run will cost, in micros: as far as its inputs tell, and at most (None: only its hold bounds it)."""

    expected: int
    upper_bound: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a price list: what is counted and its price in micros."""

    unit: str
    micros: int


@dataclass(frozen=True, slots=True)
class Price:
    """What a pack charges; a run keeps the version that it was submitted under."""

    version: str
    base_micros: int
    lines: tuple[Line, ...] = ()


@dataclass(slots=True)
class Meter:
    """Counts what a run has cost so far; it never passes the hold."""

    hold: int
    used: int = 0

    def add(self, micros: int) -> None:
        """Charge a step before it is done.

        Raises:
            BudgetExhausted: it would pass the hold; nothing was charged for it.
        """
        if round_up(self.used + micros) > self.hold:
            raise BudgetExhausted
        self.used += micros

    @property
    def cost(self) -> int:
        """What a completed run is charged: metered, rounded up, at least the least and at most the hold."""
        return min(self.hold, max(LEAST_MICROS, round_up(self.used)))


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file beside the result."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that a pack left out (``discarded``) or was kept from (``blocked``), and why."""

    code: str
    what: str


@dataclass(slots=True)
class PackContext:
    """What a pack gets to work with. ``now`` is fixed, so that a result can be made again."""

    run_id: UUID
    tenant_id: UUID
    now: datetime
    seed: int
    deadline: float  # of the loop's clock
    meter: Meter
    resources: Resources
    cancelled: Callable[[], bool]
    artifacts: list[Artifact] = field(default_factory=list)
    discarded_log: list[Noted] = field(default_factory=list)
    blocked_log: list[Noted] = field(default_factory=list)

    def check(self) -> None:
        """Stop where the run has to: packs call it between steps.

        Raises:
            Cancelled: somebody has asked for the end.
            TimeboxExceeded: the time is over.
        """
        if self.cancelled():
            raise Cancelled
        if asyncio.get_running_loop().time() >= self.deadline:
            raise TimeboxExceeded

    def artifact(self, name: str, media_type: str, content: bytes) -> None:
        """Add a file to the result."""
        self.artifacts.append(Artifact(name, media_type, content))

    def discarded(self, code: str, what: str) -> None:
        """Say what was left out of the result."""
        self.discarded_log.append(Noted(code, what))

    def blocked(self, code: str, what: str) -> None:
        """Say what the run was kept from."""
        self.blocked_log.append(Noted(code, what))


@dataclass(frozen=True, slots=True)
class PackResult:
    """What a pack found, and how far it stands by it (None: that does not apply)."""

    data: BaseModel
    reliability_milli: int | None = None
    engines: dict[str, str] = field(default_factory=dict)


class Pack(Protocol):
    """A kind of work. ``inputs`` and ``output`` are models whose schemas are published."""

    name: str
    version: str
    summary: str
    inputs: type[BaseModel]
    output: type[BaseModel]
    timebox: Timebox
    max_attempts: int
    price: Price

    def quote(self, inputs: Any) -> Quote:
        """Say what inputs will cost; pure."""
        ...

    async def run(self, ctx: PackContext, inputs: Any) -> PackResult:
        """Do the work.

        Raises:
            Rejected: the request's fault.
            BudgetExhausted, TimeboxExceeded, Cancelled: as the context says.
        """
        ...


def seed_of(inputs_sha256: bytes, pack_version: str) -> int:
    """Return the seed of a run's draws: the same inputs and version draw the same."""
    return int.from_bytes(hashlib.sha256(inputs_sha256 + pack_version.encode()).digest()[:8], "big")
