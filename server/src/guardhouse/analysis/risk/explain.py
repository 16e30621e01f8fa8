"""Why a number is what it is.

Contributions that sum to the risk, what was suppressed, the baseline behind it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from guardhouse.analysis.risk.engine import ENGINE_VERSION, AgentEngine
from guardhouse.analysis.risk.event import process_id
from guardhouse.analysis.risk.evidence import Share, shares
from guardhouse.analysis.risk.head import EVIDENCE_ID, gram_calls
from guardhouse.analysis.risk.novelty import ALERT_PREFIX
from guardhouse.analysis.risk.process import Process, Suppressed
from guardhouse.analysis.risk.surprise import CALL_MASK, call_name
from guardhouse.analysis.risk.tables import MICRO
from guardhouse.analysis.risk.tree import BAND_NAMES

TREE_DEPTH: Final = 16
MAX_GRAMS: Final = 8


def timestamp(us: int) -> str:
    """Microseconds since the epoch as RFC 3339 with milliseconds."""
    seconds, rest = divmod(us, MICRO)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest // 1000:03d}Z"


def explain(
    engine: AgentEngine, process: Process, agent_id: str, now_us: int | None = None
) -> dict[str, Any]:
    """The explanation of one process as JSON values; points are in 0..100 and sum exactly to `risk`.

    `now_us` is the event time to judge at, the process's last event when None.
    """
    at_us = process.last_us if now_us is None else max(now_us, process.last_us)
    risk, parts = shares(process.slots or (), at_us)
    return {
        "risk": risk / 100,
        "band": BAND_NAMES[process.band],
        "as_of": timestamp(at_us),
        "process": {
            "id": process_id(agent_id, process.key),
            "exe": process.exe,
            "comm": process.comm,
            "tree": ancestry(engine, process),
        },
        "contributions": [_of_process(engine, process, part) for part in parts],
        "suppressed": [_suppressed(item) for item in process.suppressed or ()],
        "baseline": _baseline(engine, process),
        "versions": _versions(engine, process),
    }


def explain_tree(
    engine: AgentEngine, root: Process, agent_id: str, now_us: int | None = None
) -> dict[str, Any]:
    """The explanation of a tree: its own evidence set, each contribution with the program that caused it."""
    tree = root.tree
    at_us = root.last_us if tree is None else max(root.last_us, tree.last_us)
    at_us = at_us if now_us is None else max(now_us, at_us)
    risk, parts = (0, []) if tree is None else tree.explain(at_us)
    contributions = [{**_contribution(engine, part), "exe": part.slot.exe} for part in parts]
    return {
        "risk": risk / 100,
        "band": BAND_NAMES[0 if tree is None else tree.band],
        "as_of": timestamp(at_us),
        "root": {"id": process_id(agent_id, root.key), "exe": root.exe},
        "contributions": contributions,
        "versions": _versions(engine, root),
    }


def ancestry(engine: AgentEngine, process: Process) -> list[str]:
    """Names of the programs from the tree's root down to the process, at most 16."""
    names: list[str] = []
    at: Process | None = process
    while at is not None and len(names) < TREE_DEPTH:
        names.append((at.exe or at.comm or f"pid-{at.key.pid}").rpartition("/")[2])
        at = None if at.key == at.root or at.parent is None else engine.instances.states.get(at.parent)
    return names[::-1]


def milli(micro: int) -> float:
    """Micro-nats as nats with three decimals."""
    return (micro + 500) // 1000 / 1000


def event_text(event_id: bytes) -> str:
    """An event id as text."""
    return UUID(bytes=event_id).hex


def _suppressed(item: Suppressed) -> dict[str, Any]:
    out: dict[str, Any] = {
        "id": item.id,
        "points": 0,
        "would_be_nats": milli(item.nats),
        "at": timestamp(item.at_us),
        "events": [event_text(item.event)],
        "why": item.why,
    }
    if item.detail and not item.id.startswith(ALERT_PREFIX):
        out["detail"] = item.detail
    return out


def _of_process(engine: AgentEngine, process: Process, share: Share) -> dict[str, Any]:
    out = _contribution(engine, share)
    if share.slot.id == "seq.rare" and process.rarest:
        out["rarest"] = [_calls(process.rarest)]
    if share.slot.id == EVIDENCE_ID:
        out["grams"] = _grams(process)
    return out


def _contribution(engine: AgentEngine, share: Share) -> dict[str, Any]:
    slot = share.slot
    out: dict[str, Any] = {
        "id": slot.id,
        "attack": list(_attack(engine, slot.id, slot.detail)),
        "points": share.points / 100,
        "nats": milli(share.nats),
        "decayed_from": milli(max(slot.weight, share.nats)),
        "hits": slot.hits,
        "inherited": slot.inherited,
        "since": timestamp(slot.at_us),
        "events": [event_text(event) for event in slot.events],
        "why": slot.why,
    }
    if slot.detail and not slot.id.startswith(ALERT_PREFIX):
        out["detail"] = slot.detail
    return out


def _calls(gram: int) -> list[str]:
    numbers = [(gram >> shift) & CALL_MASK for shift in (24, 12, 0)]
    return [call_name(number) for number in numbers if number]


def _attack(engine: AgentEngine, evidence_id: str, detail: str) -> Sequence[str]:
    """The techniques of a rule, or those that an imported alert brought along."""
    if evidence_id.startswith(ALERT_PREFIX):
        return detail.split()
    family, _, name = evidence_id.partition(".")
    rule = engine.rules.by_id.get(name) if family == "rule" else None
    return () if rule is None else rule.attack


def _grams(process: Process) -> list[dict[str, Any]]:
    """Return what raised the verdict head's score the most: calls and their share of it."""
    parts = [part for trace in process.traces or () for part in trace.shares()[:MAX_GRAMS]]
    return [{"calls": gram_calls(word), "share": milli(share)} for word, share in parts if share > 0]


def _baseline(engine: AgentEngine, process: Process) -> dict[str, Any]:
    profile = process.profile
    maturity = 0 if profile is None else profile.maturity(engine.losses.factor)
    return {
        "profile": None if profile is None else profile.name,
        "calls": 0 if profile is None else profile.baseline.calls,
        "runs": 0 if profile is None else profile.runs,
        "maturity": milli(maturity),
        "learning": maturity == 0,
        **_losses(engine, process),
    }


def _losses(engine: AgentEngine, process: Process) -> dict[str, Any]:
    """Events lost in the last ten minutes, and since this run of the program began; `note` says so in words."""
    lately = engine.losses.lost()
    in_run = 0 if process.run is None else engine.losses.total_lost - process.run.lost
    note = None
    if lately:
        share = engine.losses.factor
        note = f"you lost {lately} events in the last ten minutes: rarity counts {share}/16"
    elif in_run:
        note = f"you lost {in_run} events since this program started"
    return {"losses": lately, "losses_of_run": in_run, "note": note}


def _versions(engine: AgentEngine, process: Process) -> dict[str, Any]:
    profile = process.profile
    return {
        "engine": ENGINE_VERSION,
        "rules": engine.rules.version,
        "profile": None if profile is None else profile.version,
    }
