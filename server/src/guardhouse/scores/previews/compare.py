"""The same events judged two ways, and how the incidents of their trees differ.

Invariant: an incident here is what it is in scoring, people aside: it begins when a tree rises to medium and ends
when the engine says that the tree has been quiet.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Final

from guardhouse.analysis.risk.effects import Crossing, Effects
from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import ProcessKey, RiskEvent

RISES: Final = "up"
QUIET: Final = "quiet"
RANK: Final[Mapping[str, int]] = {"low": 0, "medium": 1, "high": 2}
MAX_EVIDENCE: Final = 8


@dataclass(slots=True)
class Episode:
    """One incident of a tree: when it began, how high it came, by what. Times in µs, risk in hundredths."""

    root: ProcessKey
    process: ProcessKey
    exe: str | None
    began_us: int
    band: str
    risk: int
    evidence: list[str] = field(default_factory=list)
    over: bool = False

    def take(self, crossing: Crossing) -> None:
        """Go on with what the tree did next."""
        if crossing.direction == QUIET:
            self.over = True
            return
        self.risk = max(self.risk, crossing.risk)
        if RANK[crossing.band] > RANK[self.band]:
            self.band = crossing.band
        cited = crossing.evidence_id
        if cited is not None and cited not in self.evidence and len(self.evidence) < MAX_EVIDENCE:
            self.evidence.append(cited)


@dataclass(frozen=True, slots=True)
class Difference:
    """One incident before and after a change; None where there would be none."""

    before: Episode | None
    after: Episode | None

    @property
    def kind(self) -> str:
        """`appear`, `vanish`, `change` of the band, or `same`."""
        if self.before is None:
            return "appear"
        if self.after is None:
            return "vanish"
        return "same" if self.before.band == self.after.band else "change"


class Way:
    """One way to judge an agent's events, and the incidents that it makes."""

    def __init__(self, engine: AgentEngine) -> None:
        self.engine = engine
        self.trees: dict[ProcessKey, list[Episode]] = {}

    def apply(self, event: RiskEvent) -> None:
        """Judge one event."""
        self._take(self.engine.apply(event))
        self.engine.take_dirty()

    def end(self, now_us: int) -> None:
        """Let trees cool down to an instant."""
        self._take(self.engine.sweep(now_us))

    def _take(self, effects: Effects | None) -> None:
        for crossing in () if effects is None else effects.crossings:
            episodes = self.trees.get(crossing.root, [])
            last = episodes[-1] if episodes else None
            if last is None or last.over:
                if crossing.direction != RISES:
                    continue
                last = self._begin(crossing)
                self.trees[crossing.root] = [*episodes, last]
            last.take(crossing)

    def _begin(self, crossing: Crossing) -> Episode:
        root = self.engine.instances.states.get(crossing.root)
        exe = None if root is None else root.exe
        return Episode(
            crossing.root, crossing.process, exe, crossing.occurred_us, crossing.band, crossing.risk
        )


def differences(before: Way, after: Way) -> Iterator[Difference]:
    """Pair the incidents of each tree in order, trees by when they first had one."""
    roots = dict.fromkeys([*before.trees, *after.trees])
    for root in roots:
        pairs = zip_longest(before.trees.get(root, ()), after.trees.get(root, ()))
        yield from (Difference(old, new) for old, new in pairs)
