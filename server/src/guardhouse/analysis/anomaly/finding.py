"""What the engine tells: a candidate with its numbers, a change of state, and the figures of a decision block."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.decide import Severity
from guardhouse.analysis.anomaly.tail import p_of

Kind = Literal["event", "record", "session", "series", "window", "drift"]


@dataclass(frozen=True, slots=True)
class FamilyScore:
    """One family's part: score in its own thousandths, its surprise, the reservoir's size, tail or rank."""

    name: str
    score_milli: int
    surprise: int
    reservoir: int
    extrapolated: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """A candidate. ``quiet`` says why it must not alert (``recalibrating``), empty when it may."""

    kind: Kind
    first_seq: int
    last_seq: int
    time_us: int
    entity: str
    template: int
    """The masked line's number; 0 where there is no line."""
    surprise: int
    severity: Severity
    score_milli: int
    excess_milli: int
    families: tuple[FamilyScore, ...] = ()
    anchor_surprise: int | None = None
    pinned: bool = False
    quiet: str = ""
    subject: str = ""
    """Name of the series, key of the session, or what drifted."""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def p(self) -> float:
        """The p-value of the surprise."""
        return p_of(self.surprise)

    @property
    def signature(self) -> tuple[str, int, str]:
        """What an incident is made of: kind, template and subject."""
        return self.kind, self.template, self.subject

    @property
    def bypasses_budget(self) -> bool:
        """Critical and pinned candidates alert whatever the budget says."""
        return self.pinned or self.severity == "critical"


@dataclass(frozen=True, slots=True)
class Change:
    """Something that became of the stream: ``ready``, ``drift``, ``recalibrating``, ``rotated``."""

    what: str
    seq: int
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision block: how many events, how many rejected, under which thresholds."""

    first_seq: int
    last_seq: int
    events: int
    rejected: int
    fdr_q: float
    alert_surprise: int


@dataclass(slots=True)
class Results:
    """What became of a segment; arrays have one place per event.

    ``surprise`` is -1 for events that were not judged; a value has that of its series, a whole session its own.
    ``milli_bits`` is the cost of the event's line, 0 where it has none; ``score_milli`` is that cost, the score of a
    series, or a session's total cost.
    """

    surprise: NDArray[np.int64]
    milli_bits: NDArray[np.int64]
    score_milli: NDArray[np.int64]
    rejected: NDArray[np.bool_]
    findings: list[Finding] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    state: str = "calibrating"

    @classmethod
    def empty(cls, size: int) -> "Results":
        """Results of ``size`` events of which none was judged."""
        zeros = np.zeros(size, np.int64)
        return cls(np.full(size, -1, np.int64), zeros, zeros.copy(), np.zeros(size, np.bool_))
