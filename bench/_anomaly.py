"""What the anomaly benches share: where the data lies, measures of a ranking, and the engine over a list of events."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardhouse.analysis.anomaly.config import Config
from guardhouse.analysis.anomaly.engine import Engine
from guardhouse.analysis.anomaly.event import Event, Segment
from guardhouse.analysis.anomaly.finding import Finding
from guardhouse.analysis.anomaly.splitmix import shuffled
from guardhouse.analysis.anomaly.tail import UNIT

ROOT = Path(__file__).parents[1]
SECOND_US = 1_000_000
Numbers = NDArray[np.float64]


def data_folder() -> Path | None:
    """Where the development data lies, None where it does not."""
    named = os.environ.get("GUARDHOUSE_SHARED_DATA")
    places = [Path(named)] if named else [ROOT.parent / "shared/data", ROOT.parents[1] / "shared/data"]
    return next((place / "anomaly" for place in places if (place / "anomaly").is_dir()), None)


def drawn(items: Sequence[Any], seed: int) -> list[Any]:
    """The items in a seeded order."""
    return [items[place] for place in shuffled(seed, len(items))]


def auroc(scores: Sequence[float] | Numbers, labels: Sequence[int]) -> float:
    """The share of (anomalous, normal) pairs in the right order; ties count half."""
    given, bad = np.asarray(scores, float), np.asarray(labels, bool)
    normal = np.sort(given[~bad])
    below = np.searchsorted(normal, given[bad], "left") + np.searchsorted(normal, given[bad], "right")
    return float(below.mean() / 2 / max(1, normal.size))


def auprc(scores: Sequence[float] | Numbers, labels: Sequence[int]) -> float:
    """Average precision; equal scores are taken together."""
    given, bad = np.asarray(scores, float), np.asarray(labels, bool)
    _, place = np.unique(-given, return_inverse=True)
    hits = np.cumsum(np.bincount(place, weights=bad))
    taken = np.cumsum(np.bincount(place))
    return float(np.sum(np.diff(hits, prepend=0) * hits / taken) / max(1, bad.sum()))


def best_f1(scores: Sequence[float] | Numbers, labels: Sequence[int]) -> float:
    """The F1 at the best threshold."""
    given, bad = np.asarray(scores, float), np.asarray(labels, bool)
    _, place = np.unique(-given, return_inverse=True)
    hits = np.cumsum(np.bincount(place, weights=bad))
    taken = np.cumsum(np.bincount(place))
    return float((2 * hits / (taken + bad.sum())).max())


@dataclass(frozen=True)
class Counted:
    """Hits and errors of a yes-or-no answer."""

    found: int
    false: int
    bad: int
    normal: int

    @property
    def recall(self) -> float:
        """Share of the anomalous that was found."""
        return self.found / max(1, self.bad)

    @property
    def precision(self) -> float:
        """Share of what was told that is anomalous."""
        return self.found / max(1, self.found + self.false)

    @property
    def f1(self) -> float:
        """Their harmonic mean."""
        return 2 * self.found / max(1, self.found + self.false + self.bad)

    @property
    def false_rate(self) -> float:
        """Share of the normal that was told."""
        return self.false / max(1, self.normal)


def counted(told: Sequence[bool] | NDArray[np.bool_], labels: Sequence[int]) -> Counted:
    """Compare an answer with the truth."""
    said, bad = np.asarray(told, bool), np.asarray(labels, bool)
    return Counted(int((said & bad).sum()), int((said & ~bad).sum()), int(bad.sum()), int((~bad).sum()))


@dataclass
class Streamed:
    """A whole stream through the engine: one place per event, candidates, alerts within the budget, incidents."""

    surprise: NDArray[np.int64]
    milli_bits: NDArray[np.int64]
    candidate: NDArray[np.bool_]
    findings: list[Finding] = field(default_factory=list)
    alerts: int = 0
    incidents: int = 0


def events_of(contents: Sequence[Any], step_us: int = SECOND_US) -> list[Event]:
    """Texts or records as events, one every ``step_us``."""
    return [
        Event(n, n * step_us, text=one) if isinstance(one, str) else Event(n, n * step_us, body=one)
        for n, one in enumerate(contents, start=1)
    ]


def streamed(
    events: Sequence[Event], config: Config, engine: Engine | None = None, segment: int = 200
) -> Streamed:
    """Send events through the engine in segments; incidents are candidates of one signature within the gap."""
    engine = engine or Engine(1, config)
    out = Streamed(np.full(len(events), -1), np.zeros(len(events), np.int64), np.zeros(len(events), np.bool_))
    open_until: dict[tuple[str, int, str], int] = {}
    first = events[0].seq
    for begin in range(0, len(events), segment):
        part = events[begin : begin + segment]
        results = engine.process(Segment(part))
        out.surprise[begin : begin + segment] = results.surprise
        out.milli_bits[begin : begin + segment] = results.milli_bits
        for finding in results.findings:
            out.findings.append(finding)
            if finding.quiet:
                continue
            if finding.kind in {"event", "record"}:
                out.candidate[finding.first_seq - first] = True
            repeated = open_until.get(finding.signature, -1) >= finding.time_us
            open_until[finding.signature] = finding.time_us + 1800 * SECOND_US
            if not repeated:
                out.incidents += 1
                out.alerts += engine.spend(finding)
    return out


def shares(surprise: NDArray[np.int64], alphas: Sequence[float]) -> dict[float, float]:
    """Of judged events the share with p of at most each level."""
    judged = surprise[surprise >= 0]
    return {alpha: float(np.mean(judged >= -UNIT * np.log10(alpha))) for alpha in alphas}
