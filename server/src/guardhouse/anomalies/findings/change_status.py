"""What people make of an anomaly: acknowledged, investigated, dismissed, opened again; who and when is kept."""

from dataclasses import replace
from datetime import datetime

from guardhouse.anomalies.findings import store
from guardhouse.anomalies.findings.anomaly import Anomaly, Status
from guardhouse.audit.record import Entry, record
from guardhouse.foundation.database import Tx
from guardhouse.identity.caller import Caller


async def change_status(
    tx: Tx, caller: Caller, known: Anomaly, status: Status, notes: str | None, now: datetime
) -> Anomaly:
    """Set the status of an anomaly; the one it has already changes nothing."""
    said = known.notes if notes is None else notes
    if (status, said) == (known.status, known.notes):
        return known
    changed = replace(known, status=status, notes=said, updated_at=now, version=known.version + 1)
    by = caller.actor.name
    if status != known.status:
        if status in ("acknowledged", "investigating") and known.acknowledged_at is None:
            changed = replace(changed, acknowledged_by=by, acknowledged_at=now)
        if status == "dismissed":
            changed = replace(changed, dismissed_by=by, dismissed_at=now)
        elif known.status == "dismissed":
            changed = replace(changed, dismissed_by=None, dismissed_at=None)
    await store.put_status(tx, caller.tenant.no, changed)
    entry = Entry(
        "anomaly.change_status",
        f"anomaly:{known.id}",
        {"status": known.status, "notes": known.notes},
        {"status": status, "notes": said},
    )
    await record(tx, caller.actor, entry)
    return changed
