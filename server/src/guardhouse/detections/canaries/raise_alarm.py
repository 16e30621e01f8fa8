"""A canary in a text that is judged: whatever the text says otherwise, something has leaked."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, TypeVar

import msgspec

from guardhouse.analysis.injection.canary import candidates
from guardhouse.analysis.injection.offsets import Reading
from guardhouse.detections.canaries.store import Canary
from guardhouse.detections.decide import HARD, Decision
from guardhouse.detections.judge import Judged
from guardhouse.detections.policy import Policy
from guardhouse.detections.token_digest import token_digest
from guardhouse.detections.verdict import Instruction, Reason, Verdict
from guardhouse.detections.verdict import Reading as View

REASON: Final = "Holds a canary: a token that was planted in a prompt or a document."
_CATEGORY: Final = "data_extraction"
_GRAVE: Final = 4
_MASK: Final = "[canary]"
Excerpt = TypeVar("Excerpt", Reason, View, Instruction)


def raise_alarm(judged: Judged, canaries: Mapping[str, Canary]) -> Judged:
    """Return a verdict with what canaries make of it; ``canaries`` are those found, by the digest of their token.

    Its excerpts show no token: who may read a record need not learn what to look out for.
    """
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
        reasons=(*reasons, *(_masked(one, canaries) for one in verdict.reasons)),
        views=tuple(_masked(one, canaries) for one in verdict.views),
        instructions=tuple(_masked(one, canaries) for one in verdict.instructions),
    )
    return replace(judged, verdict=alarmed)


def _masked(excerpt: Excerpt, canaries: Mapping[str, Canary]) -> Excerpt:
    text = excerpt.text
    for one in sorted(candidates(Reading(text)), key=lambda one: one.start, reverse=True):
        if token_digest(one.token) in canaries:
            text = text[: one.start] + _MASK + text[one.end :]
    return msgspec.structs.replace(excerpt, text=text)


def decision_on_canaries(policy: Policy) -> Decision:
    """Return what the policy does about canaries; where it would take one out of an answer, someone looks at a text."""
    return "review" if policy.output.canary == "redact" else policy.output.canary
