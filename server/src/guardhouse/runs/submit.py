"""Take runs in: key, run and hold are one commit, or nothing is left behind.

Submissions of one tenant that wait together are one transaction: the group is what queued up while the one before
committed, so nobody waits for a timer. The tenant's balance is locked first; under it the keys are looked up and the
money is counted, so that equal keys and the last dollar have one order.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.idempotency import IdempotencyKeyReused
from guardhouse.foundation.money import format_usd
from guardhouse.foundation.request import tenant_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.ledger.hold import Hold, InsufficientFunds, affordable, hold_all, lock_available
from guardhouse.notices.publish import Draft, Origin, publish_all
from guardhouse.notices.run_kinds import RunCreated
from guardhouse.runs import store
from guardhouse.runs.store import NewRun

MOST_AT_ONCE: Final = 256
CHANNEL: Final = "runs"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A run to take in: its row, what to hold in micros, and how to write its receipt from what is left after it."""

    run: NewRun
    hold: int
    receipt: Callable[[int], bytes]
    trace_id: str | None
    correlation_id: str


@dataclass(frozen=True, slots=True)
class Taken:
    """The receipt, byte for byte; ``replayed``: it was given before under this key."""

    receipt: bytes
    replayed: bool


Outcome = Taken | InsufficientFunds | IdempotencyKeyReused


async def submit_all(tx: Tx, tenant: TenantKey, wanted: Sequence[Wanted], now: datetime) -> list[Outcome]:
    """Take runs of one tenant in, in their order; each has an outcome of its own.

    A refusal leaves nothing behind, its key neither.
    """
    available = await lock_available(tx, tenant.id)
    known = await store.find_keys(tx, tenant.id, [one.run.idempotency_key for one in wanted])
    outcomes: list[Outcome | None] = [None] * len(wanted)
    new: dict[str, int] = {}
    for number, one in enumerate(wanted):
        taken = known.get(one.run.idempotency_key)
        if taken is not None:
            outcomes[number] = _again(one, taken[1], taken[2])
        elif one.run.idempotency_key not in new:
            new[one.run.idempotency_key] = number
    places = list(new.values())
    fits = affordable(available, [wanted[number].hold for number in places])
    made: list[Wanted] = []
    for number, fit in zip(places, fits, strict=True):
        one = wanted[number]
        if not fit:
            outcomes[number] = InsufficientFunds(available, one.hold)
            continue
        available -= one.hold
        receipt = one.receipt(available)
        made.append(replace(one, run=replace(one.run, receipt=receipt)))
        outcomes[number] = Taken(receipt, replayed=False)
    if made:
        await store.insert_runs(tx, tenant.id, [one.run for one in made])
        await hold_all(tx, tenant.id, [Hold(one.run.run_id, one.hold) for one in made], now)
        await publish_all(tx, [_created(tenant, one) for one in made])
        tx.run_last(f"SELECT pg_notify('{CHANNEL}', '')")
    return [
        outcome if outcome is not None else _same_group(wanted[number], wanted, new, outcomes)
        for number, outcome in enumerate(outcomes)
    ]


def _again(one: Wanted, fingerprint: bytes, receipt: bytes | None) -> Outcome:
    if fingerprint != one.run.fingerprint:
        return IdempotencyKeyReused("The key belongs to another request.")
    return Taken(receipt if receipt is not None else one.receipt(0), replayed=True)


def _same_group(
    one: Wanted, wanted: Sequence[Wanted], new: dict[str, int], outcomes: Sequence[Outcome | None]
) -> Outcome:
    """Answer a request whose key came in with this very group: as its first one was answered."""
    first = new[one.run.idempotency_key]
    outcome = outcomes[first]
    if isinstance(outcome, Taken):
        return _again(one, wanted[first].run.fingerprint, outcome.receipt)
    assert outcome is not None  # noqa: S101 - each place of ``new`` has an outcome
    return outcome


def _created(tenant: TenantKey, one: Wanted) -> Draft:
    run = one.run
    data = RunCreated(
        run_id=run.run_id,
        pack_type=run.pack_type,
        status="QUEUED",
        money_state="RESERVED",
        reserved_cost_usd=format_usd(one.hold),
        actual_cost_usd=None,
        attempt=0,
        reason_code=None,
        label=run.label,
        trace_id=one.trace_id,
    )
    return Draft(data, tenant.id, 1, Origin(correlation_id=one.correlation_id, trace_id=one.trace_id))


class Submitter:
    """The submissions of this process: one transaction at a time per tenant, for all that wait."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._waiting: dict[TenantKey, deque[tuple[Wanted, asyncio.Future[Outcome]]]] = defaultdict(deque)
        self._tasks: dict[TenantKey, asyncio.Task[None]] = {}

    async def submit(self, tenant: TenantKey, wanted: Wanted) -> Taken:
        """Take a run in.

        Raises:
            InsufficientFunds: the balance does not cover it.
            IdempotencyKeyReused: its key belongs to another request.
            DatabaseAway: nothing was stored.
        """
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[tenant].append((wanted, done))
        if tenant not in self._tasks:
            self._tasks[tenant] = asyncio.create_task(self._work(tenant))
        outcome = await done
        if isinstance(outcome, Taken):
            return outcome
        raise outcome

    async def close(self) -> None:
        """Wait for what is on its way."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _work(self, tenant: TenantKey) -> None:
        line = self._waiting[tenant]
        try:
            while line:
                group = [line.popleft() for _ in range(min(len(line), MOST_AT_ONCE))]
                await self._take(tenant, group)
        finally:
            del self._waiting[tenant], self._tasks[tenant]

    async def _take(self, tenant: TenantKey, group: list[tuple[Wanted, asyncio.Future[Outcome]]]) -> None:
        try:
            async with tenant_transaction(self._resources, tenant) as tx:
                outcomes = await submit_all(
                    tx, tenant, [one for one, _ in group], self._resources.clock.now()
                )
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            for _, done in group:
                if not done.done():
                    done.set_exception(error)
            return
        for (_, done), outcome in zip(group, outcomes, strict=True):
            if not done.done():
                done.set_result(outcome)
