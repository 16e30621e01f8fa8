"""What usage keeps of the texts that one request had judged."""

from collections import Counter
from collections.abc import Sequence

from guardhouse.detections.detect import Detection
from guardhouse.detections.policy import Action
from guardhouse.usage.log import Judged


def usage_of(found: Sequence[Detection], items: int | None = None) -> Judged:
    """Return the sums over detections; ``items`` counts those that got no verdict too."""
    channels = {one.wanted.channel for one in found}
    cached = {one.judged.cached for one in found}
    threats = {
        kind
        for one in found
        if one.flagged and one.judged.verdict
        for kind in one.judged.verdict.threat_types
    }
    return Judged(
        items=len(found) if items is None else items,
        channel=channels.pop() if len(channels) == 1 else None,
        decisions=Counter(one.decision for one in found),
        threat_types=sorted(threats),
        malicious_count=sum(one.malicious for one in found),
        max_score_milli=max((one.score_milli for one in found if one.score_milli is not None), default=None),
        degraded=any(one.judged.degraded for one in found),
        cached=cached.pop() if len(cached) == 1 else None,
    )


def usage_of_scan(decision: Action, *, degraded: bool) -> Judged:
    """Return what is kept of an answer, or a piece of one, that was scanned: it is nobody's attack and has no score."""
    return Judged(1, "output", {decision: 1}, (), 0, None, degraded=degraded, cached=None)
