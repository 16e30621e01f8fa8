"""Read runs: as they stand, with links to what they made; and what is past its time is gone for its owner too."""

import hashlib
from datetime import datetime
from uuid import UUID

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound, Problem
from guardhouse.foundation.money import format_usd
from guardhouse.foundation.objects import ObjectAbsent, ObjectStore
from guardhouse.foundation.resources import Resources
from guardhouse.runs import links, store
from guardhouse.runs.links import LIVES, Link
from guardhouse.runs.store import Run
from guardhouse.runs.wire import RunObject, RunResult


class RunGone(Problem):
    """The run's retention is over; what it cost stays to be read."""

    status, code, title = 410, "run_expired", "The run's retention is over"
    remediation = "The costs are below and in `usage_url`; submit the work again if its result is needed."

    def __init__(self, run: Run) -> None:
        super().__init__(
            "The result is no longer kept.",
            run_id=str(run.run_id),
            expired_at=rfc3339(run.retention_until),
            reserved_cost_usd=format_usd(run.hold),
            actual_cost_usd=format_usd(run.charged or 0),
            refunded_usd=format_usd(run.refunded_micros),
            usage_url="/api/v1/ledger/transfers?run_id=" + str(run.run_id),
        )


class RunNotFinished(Problem):
    """There is no result yet."""

    status, code, title = 409, "run_not_finished", "The run has not finished"
    remediation = "Wait for the end: `Prefer: wait=30` on the run answers as soon as it changes."


class RunHasNoResult(Problem):
    """The run ended without a result."""

    status, code, title = 409, "run_has_no_result", "The run has no result"
    remediation = "`error` of the run says why; what was not used has been returned."


class ResultDamaged(Problem):
    """What is stored is not what was paid for; it is not handed out."""

    status, code, title = 503, "result_damaged", "The stored result is damaged"
    remediation = "Ask whoever runs this installation to restore the object, or for a refund of the run."


async def read_object(objects: ObjectStore, link: Link) -> bytes:
    """Return the bytes of an object, which have the SHA-256 that the run tells.

    Raises:
        NotFound: it is not there any more.
        ResultDamaged: other bytes are.
    """
    try:
        content = await objects.get(link.key)
    except ObjectAbsent:
        raise NotFound("The object is not there any more.") from None
    if hashlib.sha256(content).hexdigest() != link.sha256:
        raise ResultDamaged("The stored bytes do not have the SHA-256 that the run tells.")
    return content


async def get_run(tx: Tx, tenant_id: UUID, run_id: UUID, now: datetime) -> Run:
    """Return a run.

    Raises:
        NotFound: there is none, or it belongs to somebody else.
        RunGone: its retention is over; the boundary is.
    """
    run = await store.find_run(tx, tenant_id, run_id)
    if run is None:
        raise NotFound("There is no such run.")
    if not run.is_open and now >= run.retention_until:
        raise RunGone(run)
    return run


def links_of(run: Run, now: datetime) -> list[Link]:
    """Return fresh links to what a completed run made, the envelope first; empty for any other run."""
    if run.status != "COMPLETED":
        return []
    expires = int((now + LIVES).timestamp())
    return [
        Link(one["key"], one["name"], one["media_type"], one["bytes"], one["sha256"], expires)
        for one in run.result_objects or ()
    ]


def result_of(resources: Resources, run: Run, now: datetime) -> RunResult | None:
    """Return the result of a completed run with links that live ten minutes; None for any other run."""
    found = links_of(run, now)
    if not found:
        return None
    objects = [
        RunObject(
            name=link.name,
            bytes=link.size,
            sha256=link.sha256,
            presigned_url=f"{resources.settings.public_url}/api/v1/objects/{links.sign(resources, link)}",
        )
        for link in found
    ]
    whole, *artifacts = objects
    return RunResult(
        presigned_url=whole.presigned_url,
        sha256=whole.sha256,
        bytes=whole.bytes,
        expires_at=now + LIVES,
        artifacts=artifacts,
    )


def result_link(run: Run, now: datetime) -> Link:
    """Return what a run's result is.

    Raises:
        RunNotFinished: it is not there yet.
        RunHasNoResult: the run ended without one.
    """
    if run.is_open:
        raise RunNotFinished(f"The run is {run.status}.")
    found = links_of(run, now)
    if not found:
        raise RunHasNoResult(f"The run is {run.status}.")
    return found[0]
