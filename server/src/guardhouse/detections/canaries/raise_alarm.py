"""A canary in a text that is judged: whatever the text says otherwise, something has leaked."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import msgspec

from guardhouse.detections.canaries.store import Canary
from guardhouse.detections.decide import HARD, Decision
from guardhouse.detections.judge import Judged
from guardhouse.detections.policy import Policy
from guardhouse.detections.verdict import Reason, Verdict

REASON: Final = "Holds a canary: a token that was planted in a prompt or a document."
_CATEGORY: Final = "data_extraction"
_GRAVE: Final = 4


def raise_alarm(judged: Judged, canaries: Mapping[str, Canary]) -> Judged:
    """Return a verdict with what canaries make of it; ``canaries`` are those found, by the digest of their token."""
    if judged.verdict is None or not canaries:
        return judged
    verdict = judged.verdict
    reasons = tuple(
        Reason("canary", "", one.span, canaries[one.digest].label, 0, _CATEGORY, None, _GRAVE)
        for one in verdict.marked
        if one.digest in canaries
    )
    alarmed: Verdict = msgspec.structs.replace(
        verdict,
        score_milli=HARD,
        threat_types=tuple(sorted({*verdict.threat_types, _CATEGORY})),
        reason=REASON,
        reasons=(*reasons, *verdict.reasons),
    )
    return replace(judged, verdict=alarmed)


def decision_on_canaries(policy: Policy) -> Decision:
    """Return what the policy does about canaries; where it would take one out of an answer, someone looks at a text."""
    return "review" if policy.output.canary == "redact" else policy.output.canary
