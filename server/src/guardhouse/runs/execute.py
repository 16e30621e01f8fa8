"""Do the work of one run: the pack outside of any transaction, then its end in three short steps.

Claim the end (what and how much, fixed in the row), store the objects, complete. Whoever loses a step deletes what it
stored and does nothing else; a claim that nobody completes is decided by ``reconcile`` from the row's own pointers.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any, Final

from guardhouse.foundation import logs
from guardhouse.foundation.database import DatabaseAway
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.objects import ObjectExists
from guardhouse.foundation.request import system_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.runs import finish, store
from guardhouse.runs.envelope import MOST_BYTES, Part, parts_of
from guardhouse.runs.finish import End
from guardhouse.runs.pack import (
    BudgetExhausted,
    Cancelled,
    Meter,
    Pack,
    PackContext,
    PackResult,
    Rejected,
    TimeboxExceeded,
    seed_of,
)
from guardhouse.runs.packs.registry import packs
from guardhouse.runs.store import Run

UPLOAD_SECONDS: Final = 240.0
STORE_TRIES: Final = 3
_PAUSE_SECONDS: Final = 0.5
_ORDERLY: Final = (Rejected, Cancelled, BudgetExhausted, TimeboxExceeded, TimeoutError)
_log = logs.get(__name__)


@dataclass(slots=True)
class AtWork:
    """A run in the hands of this process; the heartbeat says whether it still is, and whether it should stop."""

    run: Run
    lost: bool = False
    cancelled: bool = False
    task: "asyncio.Task[None] | None" = field(default=None, repr=False)


async def execute(resources: Resources, at_work: AtWork) -> None:
    """Work on a leased run until its end, or until the lease is lost."""
    run = at_work.run
    installed = packs().get(run.pack_type)
    if installed is None:
        detail = f"This worker has no pack {run.pack_type}."
        await _end(resources, run, finish.failed(run, "INTERNAL_ERROR", detail, finish.held_by(run)))
        return
    pack = installed.pack
    loop = asyncio.get_running_loop()
    ctx = PackContext(
        run_id=run.run_id,
        tenant_id=run.tenant_id,
        now=run.created_at,
        seed=seed_of(run.inputs_sha256, pack.version),
        deadline=loop.time() + run.timebox_seconds,
        meter=Meter(run.hold),
        resources=resources,
        cancelled=lambda: at_work.cancelled or at_work.lost,
    )
    found = await _run_pack(pack, ctx, run)
    if at_work.lost:
        return
    if isinstance(found, End):
        await _end(resources, run, found)
        return
    await _finish(resources, run, pack, ctx, found)


async def _run_pack(pack: Pack, ctx: PackContext, run: Run) -> PackResult | End:
    """Run a pack within its time; every way it can end is a result or an end of the run."""
    where = finish.held_by(run)
    try:
        inputs = pack.inputs.model_validate(run.inputs)
        async with asyncio.timeout_at(ctx.deadline):
            found = await pack.run(ctx, inputs)
    except _ORDERLY as error:
        return _orderly(run, error, where)
    except Exception as error:  # noqa: BLE001 - a bug of a pack ends its run, not the worker
        _log.exception("pack_failed", run_id=str(run.run_id), pack=pack.name)
        detail = f"The pack failed: {type(error).__name__}."
        return finish.failed(run, "INTERNAL_ERROR", detail, where)
    least = run.min_reliability_milli
    if least is not None and found.reliability_milli is not None and found.reliability_milli < least:
        detail = f"The result stands with {found.reliability_milli / 1000}, asked were {least / 1000}."
        data = found.data.model_dump(mode="json")
        return finish.failed(run, "RELIABILITY_BELOW_MINIMUM", detail, where, data=data)
    return found


def _orderly(run: Run, error: Exception, where: str) -> End:
    """Return the end that a pack, or its time, asked for."""
    if isinstance(error, Rejected):
        return finish.failed(run, error.code, error.detail, where)
    if isinstance(error, Cancelled):
        return finish.cancelled(run, where, at_work=True)
    if isinstance(error, BudgetExhausted):
        return finish.failed(run, "BUDGET_EXHAUSTED", "The next step would cost more than is held.", where)
    return finish.failed(
        run, "TIMEBOX_EXCEEDED", f"The work took longer than {run.timebox_seconds} s.", where
    )


async def _finish(resources: Resources, run: Run, pack: Pack, ctx: PackContext, found: PackResult) -> None:
    token = new_id()
    parts = parts_of(run, pack, ctx, found, token)
    if len(parts[0].content) > MOST_BYTES:
        detail = f"The result has {len(parts[0].content)} bytes, at most {MOST_BYTES}."
        await _end(resources, run, finish.failed(run, "PACK_EXECUTION_FAILED", detail, finish.held_by(run)))
        return
    pointers: list[dict[str, Any]] = [part.pointer() for part in parts]
    async with system_transaction(resources) as tx:
        claimed = await finish.claim_end(tx, run, pointers, token, resources.clock.now(), ctx.meter.cost)
    if claimed is None:
        await _stop(resources, run)
        return
    if not await _store(resources, parts):
        detail = "The result could not be stored."
        await _forget(resources, parts)
        await _end(
            resources,
            claimed,
            finish.failed(claimed, "STORAGE_WRITE_FAILED", detail, finish.claimed_by(claimed)),
        )
        return
    if await _end(resources, claimed, finish.completed(claimed)) is None and await _decided(
        resources, claimed
    ):
        await _forget(resources, parts)


async def _decided(resources: Resources, claimed: Run) -> bool:
    """Say whether somebody else has ended the run without this result, which nobody will read then.

    A commit whose answer was lost looks like somebody else's: the row tells them apart. A row that is still claimed is
    left to ``reconcile``, objects and all.
    """
    async with system_transaction(resources) as tx:
        row = await store.find_run(tx, claimed.tenant_id, claimed.run_id)
    ours = row is not None and row.finalize_token == claimed.finalize_token
    return row is not None and not row.is_open and not (ours and row.status == "COMPLETED")


async def _stop(resources: Resources, run: Run) -> None:
    """End a run that was asked to stop just before its claim; where the lease is lost this does nothing."""
    where = f"{finish.held_by(run)} AND cancel_requested_at IS NOT NULL"
    await _end(resources, run, finish.cancelled(run, where, at_work=True))


async def _store(resources: Resources, parts: list[Part]) -> bool:
    """Store the objects within the time that a claim has; False: they could not be."""
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            for part in parts:
                if not await _put(resources, part):
                    return False
    except TimeoutError:
        return False
    return True


async def _put(resources: Resources, part: Part) -> bool:
    for number in range(1, STORE_TRIES + 1):
        try:
            await resources.objects.put(part.key, part.content)
        except ObjectExists:
            return True  # by an earlier try of this very claim, whose answer was lost
        except OSError as error:
            _log.warning("object_not_stored", key=part.key, error=str(error), attempt=number)
            await asyncio.sleep(_PAUSE_SECONDS * number)
        else:
            return True
    return False


async def _forget(resources: Resources, parts: list[Part]) -> None:
    for part in parts:
        with contextlib.suppress(OSError):
            await resources.objects.delete(part.key)


async def _end(resources: Resources, run: Run, how: End) -> Run | None:
    """End a run, again and again while the database is away: the claim or lease behind it decides who wins."""
    while True:
        try:
            async with system_transaction(resources) as tx:
                return await finish.end(tx, run, how, resources.clock.now())
        except DatabaseAway:
            if resources.drain.is_set():
                return None
            await asyncio.sleep(_PAUSE_SECONDS)
