"""Write what crossings make of incidents, and return what is to be told, in the transaction of the step."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from guardhouse.events.identify import identifier
from guardhouse.events.keep import keep_events
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.notices import publish
from guardhouse.notices.publish import Draft
from guardhouse.notices.risk_kinds import (
    Band,
    Contribution,
    RiskBandCrossed,
    RiskIncidentClosed,
    RiskUpdated,
)
from guardhouse.scores.incidents import store
from guardhouse.scores.incidents.book import Book, Tale, Word
from guardhouse.scores.incidents.store import Incident
from guardhouse.scores.process_key import key_text
from guardhouse.scores.store import Backlog

REASONS: Final = 5


async def take_turn(tx: Tx, tenant: TenantKey, agent_no: int) -> None:
    """Wait for whoever writes incidents of this agent now: a lane, or a person. Before the first write."""
    await publish.take_turn(tx, tenant.id, f"incidents of {agent_no}")


async def settle(tx: Tx, work: Backlog, tales: Sequence[Tale]) -> list[Draft]:
    """Open, move on and close incidents; the notices are to be published by whoever took the turn."""
    roots = sorted({key_text(tale.crossing.root) for tale in tales})
    held = await store.lock_open(tx, work.agent_no, roots)
    told = await store.list_told(tx, [incident.id for incident in held])
    book = Book(identifier(str(work.tenant_id), work.agent_id), held, told)
    for tale in tales:
        book.take(tale)
    await store.save(tx, work.tenant_no, work.agent_no, list(book.changed.values()))
    fresh = await store.add_lines(tx, work.tenant_no, [word.line for word in book.words if word.line])
    await keep_events(tx, work.tenant_no, book.cited)
    return [_draft(word, work) for word in book.words if word.line is None or word.line.told in fresh]


def closed(incident: Incident, agent_id: str) -> RiskIncidentClosed:
    """Return what is said of the end of an incident."""
    return RiskIncidentClosed(
        incident_id=incident.id,
        tree_id=incident.tree_id,
        agent_id=agent_id,
        peak_risk=incident.peak_risk / 100,
        peak_band=_band(incident.peak_band),
        opened_at=rfc3339(incident.opened_at),
        closed_at=rfc3339(incident.closed_at or incident.seen_at),
        closed_by=incident.closed_by or "",
        reason=incident.close_reason,
        explanation=_path(incident),
    )


def _draft(word: Word, work: Backlog) -> Draft:
    if word.what == "closed":
        data: Any = closed(word.incident, work.agent_id)
    elif word.what == "updated":
        data = RiskUpdated(**_members(word, work))
    else:
        data = RiskBandCrossed(**_members(word, work), previous_band=_band(word.tale.crossing.previous_band))
    return Draft(data, work.tenant_id, word.number, notice_id=word.notice_id)


def _members(word: Word, work: Backlog) -> dict[str, Any]:
    tale, crossing = word.tale, word.tale.crossing
    return {
        "incident_id": word.incident.id,
        "process_id": tale.process_id,
        "tree_id": tale.tree_id,
        "agent_id": work.agent_id,
        "risk": crossing.risk / 100,
        "band": _band(crossing.band),
        "risk_score": tale.risk_score / 100,
        "contributions": tuple(
            Contribution(id=part["id"], points=part["points"], why=part["why"])
            for part in tale.contributions[:REASONS]
        ),
        "explanation": _path(word.incident),
        "versions": tale.versions,
    }


def _path(incident: Incident) -> str:
    return f"/api/v1/risk/incidents/{incident.id}"


def _band(name: str) -> Band:
    band: Band = msgspec.convert(name, Band)
    return band
