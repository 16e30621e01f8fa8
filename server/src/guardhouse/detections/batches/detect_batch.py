"""Judge the texts of a batch side by side: each as a call of its own, so that its verdict is the same."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from guardhouse.detections.batches.read_batch import Batch, Item
from guardhouse.detections.conversations.detect_input import detect_input
from guardhouse.detections.desk import Desk
from guardhouse.detections.detect import Detection
from guardhouse.detections.record import record
from guardhouse.foundation import correlation
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.ids import new_id
from guardhouse.identity.caller import Caller


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item: the body of its answer with the detection, or its problem."""

    name: str | None
    body: dict[str, Any] | None = None
    found: Detection | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A batch with an outcome per item, in the order given."""

    id: UUID
    outcomes: list[Outcome]
    took_ms: int
    warnings: Sequence[str] = field(default=())

    @property
    def found(self) -> list[Detection]:
        """The detections of the items that got a verdict."""
        return [one.found for one in self.outcomes if one.found is not None]


async def detect_batch(desk: Desk, caller: Caller, batch: Batch) -> Judged:
    """Judge and record every item; nothing that is wrong with one touches another."""
    begun = time.perf_counter()
    outcomes = await asyncio.gather(*(_outcome(desk, caller, item) for item in batch.items))
    return Judged(new_id(), outcomes, round((time.perf_counter() - begun) * 1_000), batch.warnings)


async def _outcome(desk: Desk, caller: Caller, item: Item) -> Outcome:
    if isinstance(item.wanted, Problem):
        return Outcome(item.name, problem=item.wanted)
    try:
        policy = await desk.policies.in_force(caller, item.wanted.policy)
        found = await detect_input(desk, caller.tenant, policy, item.wanted)
        body = await record(desk, caller, found)
    except Problem as problem:
        return Outcome(item.name, problem=problem)
    return Outcome(item.name, body | {"request_id": item.name or body["id"]}, found)


def answer_of(judged: Judged, public_url: str) -> dict[str, Any]:
    """Return the body of an answer: results and errors each as long as the batch, one of each pair null."""
    errors = [
        None if one.problem is None else problem_of(one.problem, one.name, public_url)
        for one in judged.outcomes
    ]
    failed = len(errors) - errors.count(None)
    return {
        "id": str(judged.id),
        "results": [one.body for one in judged.outcomes],
        "errors": errors,
        "total_processing_time_ms": judged.took_ms,
        "successful_count": len(errors) - failed,
        "failed_count": failed,
        "warnings": list(judged.warnings),
    }


def problem_of(problem: Problem, name: str | None, public_url: str) -> dict[str, Any]:
    """Return the problem of one item as a member of an answer."""
    said = problem.body(
        public_url=public_url, instance=f"urn:uuid:{new_id()}", correlation_id=correlation.current()
    )
    return said | {"request_id": name}
