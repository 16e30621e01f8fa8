"""The next piece of an answer that is streamed: what is found, what may be shown, what is carried on.

A decision never goes back: what was found once holds for the rest of the stream.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from guardhouse.detections.ask_engine import scan_text
from guardhouse.detections.desk import Desk
from guardhouse.detections.engine_pool import EngineFailedError, TooLateError
from guardhouse.detections.output.carry import Carry, CarryInvalid, asked, expiry, open_carry, seal_carry
from guardhouse.detections.output.read_output import WantedPiece
from guardhouse.detections.output.scan_answer import ask_for, at_least, finding_body, look_up
from guardhouse.detections.output.weigh import Finding, weigh, worst
from guardhouse.detections.policy import Action, Policy
from guardhouse.detections.scan_task import Scanned
from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.errors import Problem


class ScanFailed(Problem):
    """Nothing is known of this piece, and nothing is made up."""

    status, code, title = 503, "scan_failed", "The piece could not be scanned"
    remediation = "Send the same piece with the same carry again; if it fails again, stop the stream."


@dataclass(frozen=True, slots=True)
class ScannedPiece:
    """A scanned piece; ``text`` is what may be shown now, with a name in place of each finding."""

    wanted: WantedPiece
    policy: Policy
    sequence: int
    findings: list[Finding]
    flags: tuple[str, ...]
    warnings: tuple[str, ...]
    would_decide: Action
    release: int
    hold_back: int
    text: str
    carry: str | None

    @property
    def decision(self) -> Action:
        """What the caller is told to do."""
        return "allow" if self.policy.shadow else self.would_decide


async def scan_piece(desk: Desk, tenant: TenantKey, policy: Policy, wanted: WantedPiece) -> ScannedPiece:
    """Scan the next piece of an answer under a policy.

    Raises:
        CarryInvalid: the carry is not good for this piece; the stream must stop.
        ProtectedTextNotFound: the tenant has none of an id.
        EngineBusy, ScanFailed: nothing is known of the piece; it may be sent again.
        DatabaseAway: protected texts are asked for and cannot be read.
    """
    before = _opened(desk, tenant, policy, wanted)
    ask = await ask_for(desk, tenant, policy, wanted.scan)
    ask = msgspec.structs.replace(ask, held=before.held or None, final=wanted.final)
    try:
        scanned = await scan_text(desk.engine, ask, wanted.scan.seconds)
    except (EngineFailedError, TooLateError):
        raise ScanFailed("No engine process could scan it.", headers={"Retry-After": "1"}) from None
    canaries, unknown = await look_up(desk, tenant, scanned)
    findings = weigh(scanned.found, canaries, policy)
    would = worst([before.worst, *(one.action for one in findings), *at_least(scanned.flags, unknown)])
    held_up = would == "block" and not policy.shadow
    release = 0 if held_up else scanned.place + len(scanned.settled) - before.shown
    after = Carry(
        sequence=before.sequence + 1,
        expires=expiry(desk.resources.clock.now()),
        asked=asked(wanted),
        policy=policy.id,
        policy_version=policy.version,
        worst=would,
        shown=before.shown + release,
        held=scanned.held or b"",
    )
    return ScannedPiece(
        wanted=wanted,
        policy=policy,
        sequence=before.sequence,
        findings=findings,
        flags=scanned.flags,
        warnings=(*wanted.scan.warnings, *unknown),
        would_decide=would,
        release=release,
        hold_back=scanned.length - before.shown - release,
        text="" if held_up else _shown(scanned, findings),
        carry=None if scanned.held is None else seal_carry(desk.resources.master_key, tenant.id, after),
    )


def answer(done: ScannedPiece) -> dict[str, Any]:
    """Return the body of an answer."""
    return {
        "sequence": done.sequence,
        "decision": done.decision,
        "would_decide": done.would_decide,
        "findings": [finding_body(one) for one in done.findings],
        "release": done.release,
        "hold_back": done.hold_back,
        "released_text": done.text if done.wanted.scan.redact else None,
        "carry": done.carry,
        "flags": list(done.flags),
        "warnings": list(done.warnings),
        "policy": str(done.policy.id),
        "policy_version": done.policy.version,
        "context": done.wanted.scan.context,
        "metadata": done.wanted.scan.metadata,
    }


def _opened(desk: Desk, tenant: TenantKey, policy: Policy, wanted: WantedPiece) -> Carry:
    """Return where the stream stands; without a carry it begins."""
    if wanted.carry is None:
        if wanted.sequence:
            raise CarryInvalid("out_of_sequence")
        return Carry(0, 0, b"", policy.id, policy.version, "allow", 0, b"")
    resources = desk.resources
    carry = open_carry(resources.master_key, tenant.id, wanted.carry, wanted, resources.clock.now())
    if carry.policy != policy.id:
        raise CarryInvalid("policy_changed")
    return carry


def _shown(scanned: Scanned, findings: Iterable[Finding]) -> str:
    """Return what is settled now, with a name in place of each finding in it that is not allowed."""
    pieces: list[str] = []
    done = 0
    for one in findings:
        start, end = (max(place - scanned.place, 0) for place in (one.found.start, one.found.end))
        if one.action == "allow" or end <= done or start >= len(scanned.settled):
            continue
        if start >= done:
            pieces += (scanned.settled[done:start], f"[{one.found.detector.upper()}]")
        done = end
    return "".join([*pieces, scanned.settled[done:]])
