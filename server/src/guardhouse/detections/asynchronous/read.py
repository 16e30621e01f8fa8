"""Read what became of asynchronous calls: a text, a batch with a page of its items."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from guardhouse.detections.asynchronous import store
from guardhouse.detections.asynchronous.store import Batch, Input
from guardhouse.detections.records import read as records
from guardhouse.detections.records import store as record_store
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import Tx


async def find(tx: Tx, tenant_id: UUID, detection_id: UUID) -> dict[str, Any] | None:
    """Return the state of a text that waits or was given up; None when there is none, or it has its record."""
    found = await store.find_input(tx, tenant_id, detection_id)
    if found is None or found.state == "completed":
        return None
    return {
        "id": str(found.id),
        "request_id": found.name or str(found.id),
        "status": found.state,
        "error": found.error,
        "created_at": rfc3339(found.at),
    }


async def items_of(tx: Tx, batch: Batch, after: int, limit: int, now: datetime) -> list[dict[str, Any]]:
    """Return items of a batch in their order, each with its result or its error."""
    inputs = await store.list_inputs(tx, batch.tenant_id, batch.id, after, limit)
    results = await _results(tx, batch, inputs, now)
    return [
        {
            "place": one.place,
            "id": str(one.id),
            "request_id": one.name or str(one.id),
            "status": one.state,
            "result": results.get(one.id),
            "error": one.error,
        }
        for one in inputs
    ]


def batch_body(batch: Batch) -> dict[str, Any]:
    """Return the members of a batch without its items."""
    over = batch.finished_at is not None
    return {
        "id": str(batch.id),
        "request_id": str(batch.id),
        "status": "completed" if over else "running" if batch.succeeded else "queued",
        "total": batch.total,
        "successful_count": batch.succeeded,
        "failed_count": batch.failed,
        "created_at": rfc3339(batch.at),
        "completed_at": rfc3339(batch.finished_at) if batch.finished_at is not None else None,
    }


async def _results(
    tx: Tx, batch: Batch, inputs: Sequence[Input], now: datetime
) -> dict[UUID, dict[str, Any]]:
    ids = [one.id for one in inputs if one.state == "completed"]
    names = {one.id: one.name or str(one.id) for one in inputs}
    if not ids:
        return {}
    times = [one.at for one in inputs]
    found = await record_store.find_records(tx, batch.tenant_id, now, ids, (min(times), max(times)))
    return {one.id: records.body_of(one) | {"request_id": names[one.id]} for one in found}
