"""One incident per cause: what joins it, what is said about it, when it is over. Pure steps over plain values.

Invariant: every notice is said once; a candidate that gives no notice is a repeat, counted and not alerted.
"""

from dataclasses import dataclass, field, replace
from typing import Final, Literal

from guardhouse.analysis.anomaly.decide import MANY_EVENTS, SEVERITIES

MOST_ENTITIES: Final = 50
FIRST_MILESTONE: Final = 10
State = Literal["open", "acknowledged", "resolved"]
Notice = Literal["opened", "regressed", "escalated", "milestone", "resolved"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is put into incidents: one anomaly. `subject` is its template, field, series or session shape.

    `links` are what ties incidents together: entity, service, trace id.
    """

    kind: str
    subject: str
    at_us: int
    severity: str
    events: int = 1
    entity: str = ""
    links: frozenset[str] = frozenset()

    def cause(self, stream: str) -> str:
        """The name of the cause."""
        return f"{stream}|{self.kind}|{self.subject}"


@dataclass(frozen=True, slots=True)
class Incident:
    """What is known of one incident. Times are event-time µs; `entities` holds the first fifty, sorted."""

    cause: str
    severity: str
    first_us: int
    last_us: int
    anomalies: int = 0
    events: int = 0
    entities: tuple[str, ...] = ()
    links: frozenset[str] = field(default_factory=frozenset)
    state: State = "open"
    regressed: bool = False
    milestone: int = FIRST_MILESTONE
    """The number of events at which the next notice is due."""
    closed_by_person: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """The incident after a candidate: a new one when `notices` begins with opened or regressed.

    `before` is the incident that recovered because the candidate came too late to join it, told as resolved.
    """

    incident: Incident
    notices: tuple[Notice, ...]
    before: Incident | None = None

    @property
    def repeat(self) -> bool:
        """Whether the candidate says nothing new."""
        return not self.notices


def join(current: Incident | None, candidate: Candidate, stream: str, gap_us: int) -> Step:
    """Put a candidate into the newest incident of its cause, or open one.

    It joins while the incident is not resolved and no longer than the gap silent; a late candidate joins too. After an
    incident that a person resolved or dismissed the new one is a regression.
    """
    before = None
    if current is not None and current.state != "resolved":
        if candidate.at_us - current.last_us <= gap_us:
            return _joined(current, candidate)
        before = replace(current, state="resolved")
    regressed = current is not None and current.closed_by_person
    fresh = Incident(
        candidate.cause(stream), candidate.severity, candidate.at_us, candidate.at_us, regressed=regressed
    )
    step = _joined(fresh, candidate)
    return Step(step.incident, ("regressed" if regressed else "opened",), before)


def _joined(incident: Incident, candidate: Candidate) -> Step:
    events = incident.events + candidate.events
    severity = _worst(incident.severity, candidate.severity)
    if incident.events < MANY_EVENTS <= events:
        severity = SEVERITIES[min(SEVERITIES.index(severity) + 1, len(SEVERITIES) - 1)]
    notices: list[Notice] = []
    if severity != incident.severity:
        notices.append("escalated")
    milestone = incident.milestone
    if events >= milestone:
        notices.append("milestone")
        while events >= milestone:
            milestone *= 10
    entities = incident.entities
    if candidate.entity and candidate.entity not in entities and len(entities) < MOST_ENTITIES:
        entities = tuple(sorted((*entities, candidate.entity)))
    links = incident.links | candidate.links
    return Step(
        replace(
            incident,
            severity=severity,
            first_us=min(incident.first_us, candidate.at_us),
            last_us=max(incident.last_us, candidate.at_us),
            anomalies=incident.anomalies + 1,
            events=events,
            entities=entities,
            links=links if len(links) <= MOST_ENTITIES else incident.links,
            milestone=milestone,
        ),
        tuple(notices),
    )


def recovered(incident: Incident, now_us: int, gap_us: int) -> Incident | None:
    """The incident resolved by silence longer than the gap, None while it goes on or when it is resolved already."""
    if incident.state == "resolved" or now_us - incident.last_us <= gap_us:
        return None
    return replace(incident, state="resolved")


def decided(incident: Incident, state: State) -> Incident:
    """The incident as a person puts it; one that a person resolved comes back as a regression."""
    return replace(incident, state=state, closed_by_person=state == "resolved")


def related(one: Incident, other: Incident) -> bool:
    """Whether two incidents overlap in time and share an entity or another link."""
    apart = one.last_us < other.first_us or other.last_us < one.first_us
    shared = (one.links & other.links) or (set(one.entities) & set(other.entities))
    return not apart and bool(shared) and one.cause != other.cause


def _worst(one: str, other: str) -> str:
    return max(one, other, key=SEVERITIES.index)
