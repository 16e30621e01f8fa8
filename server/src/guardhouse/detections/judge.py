"""Who says what a text is worth, in order; a verdict is never invented, and its source is on it."""

import hashlib
import time
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeVar

from msgspec import msgpack, structs

from guardhouse.detections.ask_engine import EngineBusy, ask_engine
from guardhouse.detections.calibrations.shift import shifted
from guardhouse.detections.decide import HARD
from guardhouse.detections.desk import Desk
from guardhouse.detections.engine_pool import EngineFailedError, TooLateError
from guardhouse.detections.model_file import model_sha256
from guardhouse.detections.policies.own import own_of
from guardhouse.detections.policy import NO_ID, Policy
from guardhouse.detections.read_request import Wanted
from guardhouse.detections.remember import key_of
from guardhouse.detections.remotes.go_contract import RemoteVerdict
from guardhouse.detections.remotes.remote import NoRemoteVerdictError
from guardhouse.detections.verdict import INSTRUCTION_FROM, THREATS, Ask, Instruction, Reading, Shift, Verdict

LAST_SECONDS: Final = 1.0  # for the engine here, after one elsewhere has taken the caller's time
Source = Literal["engine", "fallback", "list", "none"]
Scored = TypeVar("Scored", Reading, Instruction)


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict and where it comes from; with the source ``none`` there is no verdict and the fail mode decides."""

    verdict: Verdict | None
    source: Source = "engine"
    engine: str = "embedded"
    tier: str = "fast"
    endpoint: str = "embedded/fast"
    degraded: bool = False
    fallback_reason: str | None = None
    cached: bool = False


_decode: Final = msgpack.Decoder(Judged).decode


async def judge(desk: Desk, policy: Policy, wanted: Wanted, detail_from: int) -> Judged:
    """Judge a text under a policy; where no engine can answer, the source is ``none`` and no verdict is made up.

    Args:
        desk: The parts of this process.
        policy: The version in force.
        wanted: The call.
        detail_from: The score (milli) from which reasons are worked out.

    Raises:
        EngineBusy: more texts wait than may wait, and the policy has no answer of its own for that.
    """
    own = own_of(policy)
    shift = own.shifts.get(wanted.channel, 0)
    ask = Ask(
        wanted.text,
        wanted.channel,
        rules_off=policy.rules_off,
        detail_from=_before(shift, detail_from),
        explain=wanted.explain,
        core=own.core,
        own=own.digest,
        listed_from=_before(shift, INSTRUCTION_FROM),
    )
    denied, allowed = own.listed(wanted.text, wanted.channel)
    if denied is not None:
        return by_list(denied, HARD)
    if allowed is not None and not own.denies_phrases:
        return by_list(allowed, 0)
    elsewhere = policy.engine.kind == "remote" and allowed is None
    if wanted.tier == "fast" != policy.tier:
        policy = structs.replace(policy, tier="fast")  # lowered by the call: that is no degraded answer
    judged = await _judge_once(desk, policy, wanted, ask, elsewhere=elsewhere)
    if judged.verdict is not None and judged.verdict.listed is not None:
        return replace(judged, source="list")
    return calibrated(judged, shift) if allowed is None else by_list(allowed, 0)


async def _judge_once(desk: Desk, policy: Policy, wanted: Wanted, ask: Ask, *, elsewhere: bool) -> Judged:
    """Judge a text, or say what was said of it a moment ago; what no engine of choice said is not remembered."""
    fresh: list[Judged] = []

    async def make() -> bytes | None:
        if elsewhere:
            judged = await _judge_elsewhere(desk, policy, wanted, ask)
        else:
            judged = await _judge_here(desk, policy, ask, wanted.seconds)
        fresh.append(judged)
        return None if judged.degraded or judged.verdict is None else msgpack.encode(judged)

    if not policy.cache_seconds or policy.id == NO_ID:
        await make()
        return fresh[0]
    key = _key(desk, policy, ask, elsewhere=elsewhere)
    found = await desk.remembered.find_or_make(key, policy.cache_seconds, make)
    if found is None or not found[1]:
        return fresh[0]
    return replace(_decode(found[0]), cached=True)


def _key(desk: Desk, policy: Policy, ask: Ask, *, elsewhere: bool) -> bytes:
    """Return what a verdict depends on; reasons too, so that a call which asks for more of them is another one."""
    depends = msgpack.encode((policy.version, policy.tier, elsewhere, structs.replace(ask, text="")))
    digest = hashlib.sha256(ask.text.encode("utf-8", "surrogatepass")).digest()
    return key_of(policy.id.bytes, depends, model_sha256(desk.engine.model).encode(), digest)


async def _judge_here(desk: Desk, policy: Policy, ask: Ask, seconds: float) -> Judged:
    try:
        verdict = await ask_engine(desk.engine, ask, seconds, own_of(policy).additions)
    except EngineBusy:
        if policy.fail_mode == "embedded":
            raise
        return without_verdict("overloaded")
    except TooLateError:
        return without_verdict("overloaded")
    except EngineFailedError:
        return without_verdict("engine_failed")
    if policy.tier != "fast":
        return Judged(verdict, "fallback", degraded=True, fallback_reason="tier_unavailable")
    return Judged(verdict)


async def _judge_elsewhere(desk: Desk, policy: Policy, wanted: Wanted, ask: Ask) -> Judged:
    """Ask a remote engine for the score; normaliser and rules are ours, and so is the verdict when it fails."""
    begun = time.monotonic()
    block = policy.lines(wanted.channel, wanted.operating_point, wanted.threshold_milli).block
    try:
        said = await desk.remotes.ask(policy.engine.name, wanted.text, block, wanted.seconds)
    except NoRemoteVerdictError as failed:
        if policy.fail_mode != "embedded":
            return without_verdict(failed.reason)
        here = await _judge_here(desk, policy, ask, _left(wanted, begun))
        if here.verdict is None:
            return here
        return replace(here, source="fallback", degraded=True, fallback_reason=failed.reason)
    here = await _judge_here(desk, policy, structs.replace(ask, given=said.score_milli), _left(wanted, begun))
    if here.verdict is None:
        return here
    name = policy.engine.name or ""
    return Judged(joined(here.verdict, said), engine=name, endpoint=said.endpoint or f"{name}/v1/detect")


def _left(wanted: Wanted, begun: float) -> float:
    """Return what is left of the caller's seconds, and a little where a remote engine has used them up."""
    return max(wanted.seconds - (time.monotonic() - begun), LAST_SECONDS)


def joined(here: Verdict, said: RemoteVerdict) -> Verdict:
    """Put what a remote engine says of a text it scored with what our rules say: kinds of both, its own sentence."""
    if here.listed is not None:
        return here
    kinds = {kind for kind in said.threat_types if kind in THREATS}
    kinds |= {reason.category for reason in here.reasons if reason.kind == "rule"}
    kinds |= {"encoding_attack"} & {*here.threat_types}
    return structs.replace(
        here,
        threat_types=tuple(sorted(kinds)) or here.threat_types,
        reason=here.reason and (said.reason or here.reason),
    )


def calibrated(judged: Judged, shift_milli: int) -> Judged:
    """Shift every score of a verdict by the tenant's own calibration of the channel."""
    verdict = judged.verdict
    if verdict is None or shift_milli == 0:
        return judged
    before = verdict.score_milli
    after = shifted(before, shift_milli)
    explain = verdict.explain
    shift = Shift(shift_milli, before, after)
    instructions = _shifted(verdict.instructions, shift_milli)
    moved = structs.replace(
        verdict,
        score_milli=after,
        views=_shifted(verdict.views, shift_milli),
        instructions=tuple(one for one in instructions if one.score_milli >= INSTRUCTION_FROM),
        explain=None if explain is None else structs.replace(explain, shift=shift),
    )
    return replace(judged, verdict=moved)


def _shifted(found: tuple[Scored, ...], shift_milli: int) -> tuple[Scored, ...]:
    return tuple(structs.replace(one, score_milli=shifted(one.score_milli, shift_milli)) for one in found)


def _before(shift_milli: int, line_milli: int) -> int:
    """Return the score (milli) that reaches a line after a shift; rounding may move one by one."""
    return line_milli if shift_milli == 0 else shifted(line_milli, -shift_milli) - 1


def by_list(entry: str, score_milli: int) -> Judged:
    """Return what a list says of exactly this text: 1,000 where it is denied, 0 where it is allowed."""
    said = "denied" if score_milli else "allowed"
    threats = ("injection",) if score_milli else ()
    reason = f"Exactly this text is {said} by the list entry {entry}."
    verdict = Verdict(score_milli, threats, reason, (), (), (), (), None, None, listed=entry)
    return Judged(verdict, "list")


def without_verdict(reason: str) -> Judged:
    """Say that there is no verdict, and why."""
    return Judged(None, "none", degraded=True, fallback_reason=reason)
