"""The story of an incident in time order: what happened, who did it, what was told, how it ended."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from guardhouse.events.keep import list_kept
from guardhouse.events.wire import EventShape, event_shape
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import NotFound
from guardhouse.scores.incidents import queries
from guardhouse.scores.incidents.queries import IncidentRow, ToldRow
from guardhouse.scores.queries import ProcessRow

MAX_PROCESSES: Final = 200
What = Literal["event", "process_started", "process_ended", "notice", "closed"]
_ORDER: Final = {"process_started": 0, "event": 1, "notice": 2, "process_ended": 3, "closed": 4}


@dataclass(frozen=True, slots=True)
class Scene:
    """One thing of a story. ``evidence``: the ids of what rests on an event, or what a notice was about."""

    at: datetime
    what: What
    text: str
    process_id: str | None = None
    event_id: str | None = None
    notice_id: UUID | None = None
    evidence: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Story:
    """An incident with everything that belongs to it; ``cut``: there were more processes."""

    row: IncidentRow
    told: list[ToldRow]
    processes: list[ProcessRow]
    cut: bool
    scenes: list[Scene]


async def tell_story(tx: Tx, tenant: TenantKey, incident_id: UUID) -> Story:
    """Return an incident with its story.

    Raises:
        NotFound: there is none.
    """
    row = await queries.get_incident(tx, tenant.no, incident_id)
    if row is None:
        raise NotFound("There is no such incident.")
    told = await queries.list_lines(tx, tenant.no, incident_id)
    cited = _cited(row, told)
    events = await list_kept(tx, tenant, cited)
    shown = [(event.occurred_at, event_shape(event)) for event in events]
    since = min([row.incident.opened_at, *(at for at, _ in shown)])
    until = row.incident.closed_at or row.incident.seen_at
    processes = await queries.list_processes(tx, row, since, until, MAX_PROCESSES + 1)
    kept = sorted(processes[:MAX_PROCESSES], key=lambda process: (process.first_position, process.key))
    scenes = [*_of_processes(kept, since, until), *_of_events(shown, cited), *_of_notices(told), *_end(row)]
    scenes.sort(key=lambda scene: (scene.at, _ORDER[scene.what]))
    return Story(row, told, kept, len(processes) > MAX_PROCESSES, scenes)


def _cited(row: IncidentRow, told: list[ToldRow]) -> dict[str, list[str]]:
    """Return the cited events, each with the evidence that rests on it."""
    found: dict[str, list[str]] = {}
    for contributions in (*(line.contributions for line in told), row.incident.contributions):
        for part in contributions:
            for event in part["events"]:
                if part["id"] not in found.setdefault(event, []):
                    found[event].append(part["id"])
    return found


def _of_processes(processes: list[ProcessRow], since: datetime, until: datetime) -> Iterator[Scene]:
    for process in processes:
        name = process.exe or process.comm or f"pid {process.pid}"
        if process.started_at >= since:
            yield Scene(process.started_at, "process_started", f"{name} started", process.process_id)
        if process.exited_at is not None and process.exited_at <= until:
            yield Scene(process.exited_at, "process_ended", f"{name} ended", process.process_id)


def _of_events(events: list[tuple[datetime, EventShape]], cited: dict[str, list[str]]) -> Iterator[Scene]:
    for at, event in events:
        details: dict[str, Any] = {
            name: event.args[name] for name in ("path", "path2", "addr", "argv") if name in event.args
        }
        yield Scene(
            at,
            "event",
            _sentence(event),
            event.process_id,
            event.id,
            evidence=tuple(cited[event.id]),
            details=details,
        )


def _sentence(event: EventShape) -> str:
    what = event.rule or event.syscall or event.kind
    addr = event.args.get("addr")
    where = f"{addr.get('ip')}:{addr.get('port')}" if isinstance(addr, dict) and "ip" in addr else None
    about = event.args.get("path") or where or event.exe
    failed = " (failed)" if event.errno is not None or (event.ret is not None and event.ret < 0) else ""
    return f"{what} {about}{failed}" if about else f"{what}{failed}"


def _of_notices(told: list[ToldRow]) -> Iterator[Scene]:
    for line in told:
        rose = line.band != line.previous_band
        text = f"risk {line.risk / 100:.2f}, " + (
            f"{line.previous_band} to {line.band}" if rose else f"new evidence in {line.band}"
        )
        yield Scene(
            line.at,
            "notice",
            text,
            line.process_id,
            notice_id=line.notice_id,
            evidence=(line.evidence_id,),
        )


def _end(row: IncidentRow) -> Iterator[Scene]:
    incident = row.incident
    if incident.closed_at is not None:
        text = "quiet for ten minutes" if incident.closed_by == "quiet" else f"closed by {incident.closed_by}"
        reason = f": {incident.close_reason}" if incident.close_reason else ""
        yield Scene(incident.closed_at, "closed", text + reason)
