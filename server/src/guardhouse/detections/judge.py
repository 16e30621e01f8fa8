"""Who says what a text is worth, in order; a verdict is never invented, and its source is on it."""

from dataclasses import dataclass
from typing import Literal

from guardhouse.detections.ask_engine import EngineBusy, ask_engine
from guardhouse.detections.desk import Desk
from guardhouse.detections.engine_pool import EngineFailedError, TooLateError
from guardhouse.detections.policy import Policy
from guardhouse.detections.read_request import Wanted
from guardhouse.detections.verdict import Ask, Verdict

Source = Literal["engine", "fallback", "list", "none"]


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
    ask = Ask(
        wanted.text,
        wanted.channel,
        rules_off=policy.rules_off,
        detail_from=detail_from,
        explain=wanted.explain,
    )
    try:
        return Judged(await ask_engine(desk.engine, ask, wanted.seconds))
    except EngineBusy:
        if policy.fail_mode == "embedded":
            raise
        return without_verdict("overloaded")
    except TooLateError:
        return without_verdict("overloaded")
    except EngineFailedError:
        return without_verdict("engine_failed")


def without_verdict(reason: str) -> Judged:
    """Say that there is no verdict, and why."""
    return Judged(None, "none", degraded=True, fallback_reason=reason)
