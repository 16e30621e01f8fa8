"""A model's answer, whole: scan it, decide by the policy, and say what may be shown."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from guardhouse.analysis.injection.leak import Leak
from guardhouse.analysis.injection.redact import redacted
from guardhouse.detections.ask_engine import EngineBusy, scan_text
from guardhouse.detections.canaries.recognise import NOT_LOOKED_UP, recognise
from guardhouse.detections.canaries.store import Canary
from guardhouse.detections.desk import Desk
from guardhouse.detections.engine_pool import EngineFailedError, TooLateError
from guardhouse.detections.output.read_output import WantedScan
from guardhouse.detections.output.weigh import Finding, weigh, worst
from guardhouse.detections.policy import Action, Policy
from guardhouse.detections.protected_texts.protect import guarded
from guardhouse.detections.scan_task import ScanAsk, Scanned
from guardhouse.detections.tenant_keys import prompt_keys
from guardhouse.foundation import logs
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import DatabaseAway, TenantKey
from guardhouse.foundation.ids import new_id

_NOTHING: Final = Scanned((), (), "", 0, 0, None)
_LEFT_OUT: Final = "views_truncated"
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class ScannedAnswer:
    """A scanned answer: its findings, the real decision, how long it took in microseconds.

    With a ``fallback_reason`` nothing is known of the answer and the fail mode decided.
    """

    id: UUID
    at: datetime
    wanted: WantedScan
    policy: Policy
    findings: Sequence[Finding]
    flags: frozenset[str]
    warnings: tuple[str, ...]
    would_decide: Action
    took_us: int
    fallback_reason: str | None = None

    @property
    def decision(self) -> Action:
        """What the caller is told to do."""
        return "allow" if self.policy.shadow else self.would_decide


async def scan_answer(
    desk: Desk, tenant: TenantKey, policy: Policy, wanted: WantedScan, sources: tuple[str, ...] = ()
) -> ScannedAnswer:
    """Scan an answer under a policy; no link may carry what stands in ``sources`` or the system prompt.

    Raises:
        ProtectedTextNotFound: the tenant has none of an id.
        EngineBusy: more texts wait than may wait, and the policy has no answer of its own for that.
        DatabaseAway: protected texts are asked for and cannot be read.
    """
    begun = time.perf_counter_ns()
    ask = await ask_for(desk, tenant, policy, wanted, sources)
    scanned, reason = await _scan(desk, policy, ask, wanted.seconds)
    canaries, unknown = await look_up(desk, tenant, scanned)
    findings = weigh(scanned.found, canaries, policy)
    told = [one.action for one in findings]
    decision = (
        worst([*told, *at_least(scanned.flags, unknown)]) if reason is None else policy.without_verdict()
    )
    return ScannedAnswer(
        id=new_id(),
        at=desk.resources.clock.now(),
        wanted=wanted,
        policy=policy,
        findings=findings,
        flags=frozenset({*scanned.flags, *(("invalid_unicode",) if wanted.invalid_unicode else ())}),
        warnings=(*wanted.warnings, *unknown),
        would_decide=decision,
        took_us=(time.perf_counter_ns() - begun) // 1_000,
        fallback_reason=reason,
    )


async def _scan(desk: Desk, policy: Policy, ask: ScanAsk, seconds: float) -> tuple[Scanned, str | None]:
    """Scan a whole answer; where no engine can, return nothing found and why."""
    try:
        return await scan_text(desk.engine, ask, seconds), None
    except EngineBusy:
        if policy.fail_mode == "embedded":
            raise
        return _NOTHING, "overloaded"
    except TooLateError:
        return _NOTHING, "overloaded"
    except EngineFailedError:
        return _NOTHING, "engine_failed"


async def ask_for(
    desk: Desk, tenant: TenantKey, policy: Policy, wanted: WantedScan, sources: tuple[str, ...] = ()
) -> ScanAsk:
    """Return what an engine process is asked, for a whole answer."""
    prompts = () if wanted.system_prompt is None else (wanted.system_prompt,)
    return ScanAsk(
        wanted.text,
        allowed_hosts=policy.allowed_link_hosts,
        sources=(*prompts, *sources),
        prompts=prompts,
        prompt_key=next(iter(prompt_keys(desk.resources, tenant.id).values())),
        guarded=await guarded(desk.resources, tenant, wanted.protected_texts),
    )


async def look_up(
    desk: Desk, tenant: TenantKey, scanned: Scanned
) -> tuple[Mapping[str, Canary], tuple[str, ...]]:
    """Return the canaries among what was found, and a warning where the database could not be asked."""
    digests = [one.value for one in scanned.found if one.kind == "canary"]
    try:
        return await recognise(desk.resources, tenant, digests), ()
    except DatabaseAway:
        _log.warning(NOT_LOOKED_UP, tenant=str(tenant.id))
        return {}, (NOT_LOOKED_UP,)


def at_least(flags: Sequence[str], unknown: Sequence[str]) -> tuple[Action, ...]:
    """Return what is done at least where not everything could be read or looked up."""
    return ("review",) if unknown or _LEFT_OUT in flags else ()


def answer(done: ScannedAnswer) -> dict[str, Any]:
    """Return the body of an answer."""
    wanted = done.wanted
    return {
        "id": str(done.id),
        "decision": done.decision,
        "would_decide": done.would_decide,
        "findings": [finding_body(one) for one in done.findings],
        "redacted_text": redacted_text(done) if wanted.redact and done.fallback_reason is None else None,
        "degraded": done.fallback_reason is not None,
        "fallback_reason": done.fallback_reason,
        "flags": sorted(done.flags),
        "warnings": list(done.warnings),
        "policy": str(done.policy.id),
        "policy_version": done.policy.version,
        "processing_time_ms": math.ceil(done.took_us / 1_000),
        "processing_time_us": done.took_us,
        "context": wanted.context,
        "metadata": wanted.metadata,
        "created_at": rfc3339(done.at),
    }


def finding_body(one: Finding) -> dict[str, Any]:
    """Return a finding as it is told."""
    found = one.found
    return {
        "kind": found.kind,
        "detector": found.detector,
        "span": [found.start, found.end],
        "severity": found.severity,
        "action": one.action,
        "evidence": one.evidence,
        "canary_id": None if one.canary is None else str(one.canary.id),
    }


def redacted_text(done: ScannedAnswer) -> str:
    """Return the answer with a name in place of each finding that is not allowed."""
    leaks = [
        Leak(found.kind, found.detector, found.start, found.end, found.value, found.severity, found.start)
        for found in (one.found for one in done.findings if one.action != "allow")
    ]
    return redacted(done.wanted.text, leaks)
