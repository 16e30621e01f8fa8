"""Calibrate a policy to its tenant's own harmless texts: the next version shifts each channel that has enough."""

from collections import Counter
from datetime import datetime
from typing import Final

import msgspec

from guardhouse.detections.calibrations import store
from guardhouse.detections.calibrations.shift import reaching, shift_for, shifted
from guardhouse.detections.calibrations.store import Calibration, ChannelShift
from guardhouse.detections.policies.change_policy import change_policy
from guardhouse.detections.policies.store import StoredPolicy
from guardhouse.detections.tuning.preview import shift_of
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.ids import new_id
from guardhouse.identity.caller import Caller

FEWEST: Final = 500


class TooFewTexts(Problem):
    """No channel has enough harmless texts to calibrate by."""

    status, code, title = 422, "too_few_texts", "Too few harmless texts"
    remediation = (
        "Let the policy stand in the shadow for longer, label detections as benign, or take a longer span."
    )


async def calibrate(
    tx: Tx,
    caller: Caller,
    known: StoredPolicy,
    span: tuple[datetime, datetime],
    target: float,
    now: datetime,
) -> tuple[Calibration, StoredPolicy]:
    """Make a calibration and the version of the policy, which the caller holds locked, that uses it.

    Raises:
        TooFewTexts: no channel has 500 harmless texts in the span.
    """
    tenant_id, policy = caller.tenant.id, known.policy
    scored = await store.count_scores(tx, tenant_id, policy.id, span, harmless=True)
    before = await store.get_calibrations(
        tx, tenant_id, sorted({one.calibration for one in scored if one.calibration})
    )
    scores: dict[str, Counter[int]] = {"user": Counter(), "external": Counter()}
    for one in scored:
        plain = shifted(one.score_milli, -shift_of(before, one.calibration, one.channel))
        scores[one.channel][plain] += one.count
    channels = {
        channel: _of_channel(found, policy.lines(channel, None, None).block, target)
        for channel, found in scores.items()
        if found.total() >= FEWEST
    }
    if not channels:
        counts = {channel: found.total() for channel, found in scores.items()}
        raise TooFewTexts(f"A channel needs {FEWEST} harmless texts.", needed=FEWEST, found=counts)
    made = Calibration(new_id(), policy.id, *span, target, channels, now, caller.actor.name)
    await store.add_calibration(tx, tenant_id, made)
    wanted = msgspec.structs.replace(policy, calibration=made.id)
    return made, await change_policy(tx, caller, known, wanted, now)


def _of_channel(scores: Counter[int], line: int, target: float) -> ChannelShift:
    shift = shift_for(scores, line, target)
    return ChannelShift(shift, scores.total(), reaching(scores, line, 0), reaching(scores, line, shift))
