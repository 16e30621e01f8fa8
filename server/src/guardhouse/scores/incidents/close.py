"""A person closes an incident: what comes later on its tree is another one."""

from datetime import datetime
from uuid import UUID

from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import NotFound
from guardhouse.notices.publish import publish
from guardhouse.scores.incidents import queries, store, tell


async def close_incident(
    tx: Tx, tenant: TenantKey, actor: Actor, incident_id: UUID, reason: str | None, now: datetime
) -> None:
    """Close an incident, say so, and record who did; one that is closed stays as it is.

    Raises:
        NotFound: there is none.
    """
    found = await queries.get_incident(tx, tenant.no, incident_id)
    if found is None:
        raise NotFound("There is no such incident.")
    await tell.take_turn(tx, tenant, found.agent_no)
    incident = await store.lock_one(tx, tenant.no, incident_id)
    if incident is None or incident.status == "closed":
        return
    incident.status, incident.closed_at, incident.closed_by = "closed", now, actor.name
    incident.close_reason = reason
    incident.version += 1
    await store.close(tx, tenant.no, incident)
    data = tell.closed(incident, found.agent_id)
    await publish(tx, data, tenant_id=tenant.id, subject_seq=incident.version)
    await record(
        tx,
        actor,
        Entry(
            "incident.close",
            f"incident:{incident_id}",
            before={"status": "open", "band": incident.band},
            after={"status": "closed"},
            reason=reason,
        ),
    )
