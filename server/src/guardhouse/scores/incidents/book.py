"""What the crossings of an agent's trees make of its incidents, and what is to be told. Pure.

A tree's first rise opens an incident, so does what is news after a person closed one; everything else belongs to
the one that is open. Ids follow from the event that opened it, so that a step done again gives the same.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import UUID

from guardhouse.analysis.risk.effects import Crossing
from guardhouse.foundation.clock import from_microseconds
from guardhouse.scores.incidents.store import Contributions, Incident, Line, Told
from guardhouse.scores.process_key import key_text

QUIET: Final = "quiet"
_RANKS: Final = {"low": 0, "medium": 1, "high": 2}


@dataclass(frozen=True, slots=True)
class Tale:
    """A crossing and how things stood just then. ``risk_score`` of the process in hundredths."""

    crossing: Crossing
    tree_id: str
    process_id: str
    risk_score: int = 0
    contributions: Contributions = field(default_factory=list)
    versions: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Word:
    """One notice about an incident, to be published unless its line was written before."""

    incident: Incident
    what: Literal["crossed", "updated", "closed"]
    number: int
    notice_id: UUID
    tale: Tale
    line: Line | None = None


class Book:
    """The open incidents of one agent; ``new_id`` makes ids from a time in ms and a source text.

    ``changed``, ``words`` and ``cited`` collect what is to be stored, told, and kept as evidence.
    """

    def __init__(
        self, new_id: Callable[[int, str], bytes], held: Iterable[Incident] = (), told: Iterable[Told] = ()
    ) -> None:
        self._new_id = new_id
        self._open = {incident.root_key: incident for incident in held}
        self._told = set(told)
        self.changed: dict[UUID, Incident] = {}
        self.words: list[Word] = []
        self.cited: set[str] = set()

    def take(self, tale: Tale) -> None:
        """Take in the next crossing of a tree, in the order in which they happened."""
        crossing = tale.crossing
        incident = self._open.get(key_text(crossing.root))
        if crossing.direction in {"up", "evidence"}:
            incident = incident or self._begin(tale)
            self._go_on(incident, tale)
            self._tell_once(incident, tale)
        elif incident is None:
            return  # a person closed it, and nothing since was news
        elif crossing.direction == "update":
            self._go_on(incident, tale)
            if crossing.first_in_second:
                self._say(incident, "updated", tale)
        else:
            self._stand(incident, tale)
            if crossing.direction == QUIET:
                self._end(incident, tale)

    def _begin(self, tale: Tale) -> Incident:
        crossing, at = tale.crossing, from_microseconds(tale.crossing.occurred_us)
        root = key_text(crossing.root)
        incident = Incident(
            id=self._id(crossing, f"incident:{crossing.position}:{root}"),
            root_key=root,
            tree_id=tale.tree_id,
            process_id=tale.process_id,
            status="open",
            opened_at=at,
            opened_position=crossing.position,
            seen_at=at,
            position=crossing.position,
            band=crossing.band,
            risk=crossing.risk,
            peak_band="low",
            peak_risk=-1,
            peak_at=at,
            contributions=[],
            versions=tale.versions,
            version=0,
        )
        self._open[root] = incident
        return incident

    def _stand(self, incident: Incident, tale: Tale) -> None:
        crossing = tale.crossing
        incident.seen_at = from_microseconds(crossing.occurred_us)
        incident.position = crossing.position
        incident.band, incident.risk = crossing.band, crossing.risk
        self.changed[incident.id] = incident

    def _go_on(self, incident: Incident, tale: Tale) -> None:
        self._stand(incident, tale)
        incident.peak_band = max(incident.peak_band, tale.crossing.band, key=_RANKS.__getitem__)
        if tale.crossing.risk > incident.peak_risk:
            incident.peak_risk, incident.peak_at = tale.crossing.risk, incident.seen_at
            incident.contributions, incident.versions = tale.contributions, tale.versions
            self._cite(tale)

    def _end(self, incident: Incident, tale: Tale) -> None:
        incident.status, incident.closed_by = "closed", QUIET
        incident.closed_at = from_microseconds(tale.crossing.occurred_us)
        del self._open[incident.root_key]
        self._say(incident, "closed", tale)

    def _tell_once(self, incident: Incident, tale: Tale) -> None:
        crossing = tale.crossing
        told = (incident.id, crossing.band, crossing.evidence_id or "")
        if told in self._told:
            if crossing.first_in_second:
                self._say(incident, "updated", tale)
            return
        self._told.add(told)
        self._cite(tale)
        self._say(incident, "crossed", tale, told)

    def _say(
        self,
        incident: Incident,
        what: Literal["crossed", "updated", "closed"],
        tale: Tale,
        told: Told | None = None,
    ) -> None:
        crossing = tale.crossing
        incident.version += 1
        number = incident.version
        notice_id = self._id(crossing, f"notice:{incident.id}:{number}")
        line = told and Line(
            told=told,
            notice_id=notice_id,
            number=number,
            at=incident.seen_at,
            position=crossing.position,
            process_id=tale.process_id,
            previous_band=crossing.previous_band,
            risk=crossing.risk,
            contributions=tale.contributions,
        )
        self.words.append(Word(incident, what, number, notice_id, tale, line))

    def _cite(self, tale: Tale) -> None:
        self.cited.update(event for part in tale.contributions for event in part["events"])

    def _id(self, crossing: Crossing, source: str) -> UUID:
        return UUID(bytes=self._new_id(crossing.occurred_us // 1000, source))
