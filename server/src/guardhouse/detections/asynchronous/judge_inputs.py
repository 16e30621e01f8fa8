"""Judge texts that waited, with the same function as a call that is answered at once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from guardhouse.detections.asynchronous.packed import unpack
from guardhouse.detections.asynchronous.store import Batch, Ended, Input
from guardhouse.detections.conversations.detect_input import detect_input
from guardhouse.detections.desk import Desk
from guardhouse.detections.detect import Detection, answer
from guardhouse.detections.read_request import Wanted
from guardhouse.detections.record import entry_of, origin_of, told
from guardhouse.detections.records.write import Entry
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.errors import Problem
from guardhouse.identity.caller import Caller
from guardhouse.notices.detection_kinds import (
    DetectionBatchCompleted,
    DetectionCompleted,
    DetectionFailed,
)
from guardhouse.notices.publish import Draft
from guardhouse.webhooks.adhoc import Letter, letter

_SERVER_ERRORS: Final = 500


class EngineFailed(Problem):
    """No engine could judge the text, however often it was tried; no verdict is invented."""

    status, code, title = 503, "engine_failed", "The detection engine failed"
    remediation = "Send the text again; if the same text fails again, report it with the correlation id."


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one input: a record, or a problem; ``passing`` says that another try may help."""

    given: Input
    wanted: Wanted | None = None
    entry: Entry | None = None
    found: Detection | None = None
    problem: Problem | None = None

    @property
    def passing(self) -> bool:
        """Whether the problem is the server's, so that a later try may go well."""
        return self.problem is not None and self.problem.status >= _SERVER_ERRORS

    def ended(self, public_url: str) -> Ended:
        """Return how the input ended."""
        return Ended(self.given.id, None if self.problem is None else error_of(self.problem, public_url))


async def judge_inputs(desk: Desk, tenant: TenantKey, inputs: Sequence[Input]) -> list[Result]:
    """Judge inputs side by side; nothing is written."""
    return list(await asyncio.gather(*(_judge(desk, tenant, one) for one in inputs)))


async def _judge(desk: Desk, tenant: TenantKey, given: Input) -> Result:
    caller = caller_of(tenant, given)
    wanted: Wanted | None = None
    try:
        wanted = unpack(given.packed or b"")
        policy = await desk.policies.in_force(caller, wanted.policy)
        found = await detect_input(desk, tenant, policy, wanted)
        if found.judged.verdict is None:
            raise EngineFailed(f"There is no verdict: {found.judged.fallback_reason}.")
    except Problem as problem:
        return Result(given, wanted, problem=problem)
    found = replace(found, id=given.id, at=given.at)
    entry = entry_of(desk.resources, caller, found, answer(found))
    if given.batch_id is None and not entry.letters:  # a letter is published like any notice
        data = DetectionCompleted(**told(entry.record))
        entry = replace(entry, notices=(*entry.notices, Draft(data, tenant.id, 1, origin_of(caller))))
    return Result(given, wanted, entry, found)


def caller_of(tenant: TenantKey, given: Input | Batch) -> Caller:
    """Return who asked, as far as records and notices name it; it may do nothing."""
    project = given.project_id if isinstance(given, Input) else None
    return Caller(tenant, "", given.kind, "", frozenset(), given.credential, project)


def error_of(problem: Problem, public_url: str) -> dict[str, Any]:
    """Return a problem as a member of an answer."""
    return {
        "type": f"{public_url}/problems/{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        "remediation": problem.advice,
    } | ({"errors": list(problem.errors)} if problem.errors else {})


def failure_of(tenant: TenantKey, result: Result, error: dict[str, Any]) -> tuple[list[Draft], list[Letter]]:
    """Return what is told of an input that was given up; of an item of a batch, nothing: the batch tells it."""
    given, wanted = result.given, result.wanted
    if given.batch_id is not None:
        return [], []
    data = DetectionFailed(
        id=given.id,
        request_id=str(given.id),
        error=error,
        context={} if wanted is None else wanted.context,
        metadata={} if wanted is None else wanted.metadata,
        created_at=rfc3339(given.at),
    )
    return addressed(data, tenant, caller_of(tenant, given), None if wanted is None else wanted.webhook_url)


def batch_notice(tenant: TenantKey, batch: Batch) -> tuple[list[Draft], list[Letter]]:
    """Return what is told of a batch whose last item has ended."""
    data = DetectionBatchCompleted(
        id=batch.id,
        request_id=str(batch.id),
        total=batch.total,
        successful_count=batch.succeeded,
        failed_count=batch.failed,
        created_at=rfc3339(batch.at),
    )
    return addressed(data, tenant, caller_of(tenant, batch), batch.webhook_url)


def addressed(
    data: DetectionFailed | DetectionBatchCompleted, tenant: TenantKey, caller: Caller, url: str | None
) -> tuple[list[Draft], list[Letter]]:
    """Return a notice for everybody who listens, or as a letter for them and a URL."""
    if url is None:
        return [Draft(data, tenant.id, 1, origin_of(caller))], []
    return [], [letter(url, data, tenant.id, origin_of(caller))]
