"""What verdict heads say of a call: evidence, or, in shadow, what it would have been.

Invariant: a head that is switched off is silent, whatever a process has shown it.
"""

from typing import Final

from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.evidence import CAPS, HEAD, Finding
from guardhouse.analysis.risk.head import EVIDENCE_ID, HALF_LIFE_S, HeadSet, HeadTrace, gram_calls
from guardhouse.analysis.risk.judge import Judge
from guardhouse.analysis.risk.process import Process, Suppressed
from guardhouse.analysis.risk.tables import MICRO

MAX_SHARES: Final = 3


def show_heads(
    heads: HeadSet, judge: Judge, process: Process, key: int, event: RiskEvent, now_us: int
) -> None:  # fmt: skip
    """Show a call to each head the process is bound to; what one says counts, or is told as suppressed."""
    for trace in process.traces or ():
        if not trace.follow(key):
            continue
        nats = trace.nats
        speaks = heads.speaks(trace.head.version)
        if nats == 0 or speaks is None:
            continue
        if not speaks:
            why = f"verdict head {trace.head.version} in shadow: counted, not added"
            process.suppress(Suppressed(EVIDENCE_ID, nats, now_us, event.event_id, why))
            continue
        held = next((slot for slot in process.slots or () if slot.id == EVIDENCE_ID), None)
        if held is None or held.at(now_us) < min(nats, CAPS[HEAD]):  # over the cap more says nothing
            judge.weigh(process, _resembles(trace, nats, event), now_us)


def _resembles(trace: HeadTrace, nats: int, event: RiskEvent) -> Finding:
    """Return the evidence of a trace, explained by its largest shares."""
    parts = [(word, share) for word, share in trace.shares()[:MAX_SHARES] if share > 0]
    told = "; ".join(f"{' '.join(gram_calls(word))} +{_two_decimals(share)}" for word, share in parts)
    why = f"calls like those of confirmed runs (head {trace.head.version}): {told}"
    return Finding(EVIDENCE_ID, "", nats, HALF_LIFE_S, why, (event.event_id,), highest=True)


def _two_decimals(micro: int) -> str:
    return f"{micro // MICRO}.{micro % MICRO // 10_000:02d}"
