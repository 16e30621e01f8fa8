"""Tells of events by which an app says that its own protection failed or was left out."""

from collections.abc import Iterable
from typing import Final, Literal, get_args
from uuid import UUID

from guardhouse.events.write_app import NewRow
from guardhouse.notices.abuse_kinds import AgentAlert
from guardhouse.notices.publish import Draft, Origin

_Alert = Literal["security_bypass", "ip_ban_failed", "emergency_mode_activated"]
ALERTS: Final[tuple[_Alert, ...]] = get_args(_Alert)
_LISTED: Final = 5


def alerts_of(agent_id: str, tenant_id: UUID, project_id: UUID, stored: Iterable[NewRow]) -> list[Draft]:
    """Return one notice per type for the events of a batch that were stored just now."""
    found: dict[str, list[str]] = {}
    for row in stored:
        if row.fields["event_type"] in ALERTS:
            found.setdefault(row.fields["event_type"], []).append(row.row_id.hex())
    return [
        Draft(
            AgentAlert(
                agent_id=agent_id,
                project_id=project_id,
                event_type=event_type,
                count=len(found[event_type]),
                event_ids=tuple(found[event_type][:_LISTED]),
            ),
            tenant_id,
            subject_seq=0,
            origin=Origin(project_id=project_id),
        )
        for event_type in ALERTS
        if event_type in found
    ]
