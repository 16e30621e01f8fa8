"""Detection quality on the development data: our engine and the first product's `risk_score` side by side.

Run with the shared development data next to the repository (`../shared/data/syscall`, or
GUARDHOUSE_SHARED_DATA); where it is absent the bench says so and its last line has `"ok": null`. Nothing is
fitted here: learning uses the first ten normal service runs, or nine of them, and everything else is left
out.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from _adfa import adfa

from guard_agent.watch.audit_log import read_audit
from guard_agent.watch.strace import open_log, read_strace
from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.evidence import CAPS, RULES, SEQ, Slot
from guardhouse.analysis.risk.learn import Run, RunCollector, learn
from guardhouse.analysis.risk.profile import ProfileSet
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.analysis.risk.tables import risk_hundredths

ROOT = Path(__file__).parents[1]
RULE_SET = RuleSet.builtin()


def data_folder() -> Path | None:
    """Where the development data lies, None where it does not."""
    named = os.environ.get("GUARDHOUSE_SHARED_DATA")
    places = [Path(named)] if named else [ROOT.parent / "shared/data", ROOT.parents[1] / "shared/data"]
    for place in places:
        if (place / "syscall").is_dir():
            return place / "syscall"
    return None


def events_of(path: Path) -> list[RiskEvent]:
    """A strace log through the agent's importer, as the server would hand its events to the engine."""
    return [wire_event(item, n) for n, item in enumerate(read_strace(open_log(path)), start=1)]


def audit_events(path: Path) -> list[RiskEvent]:
    """An audit log through the agent's importer, as the server would hand its events to the engine."""
    return [wire_event(item, n, "audit.v1") for n, item in enumerate(read_audit(open_log(path)), start=1)]


def wire_event(item: dict[str, Any], position: int, alphabet: str = "strace.full.v1") -> RiskEvent:
    """One event in wire words (section 2.1 of the design) as a RiskEvent."""
    return RiskEvent(
        position=position,
        event_id=position.to_bytes(16, "big"),
        occurred_us=int(item.get("timestamp", 0)) // 1000,
        kind=item.get("kind", "call"),
        pid=item.get("pid"),
        tid=item.get("tid"),
        ppid=item.get("ppid"),
        start=item.get("start"),
        boot_id="bench",
        exe=item.get("exe"),
        comm=item.get("comm"),
        call=item.get("syscall"),
        ret=item.get("ret"),
        errno=item.get("errno"),
        args=item.get("args"),
        names=tuple(item["names"]) if item.get("names") else None,
        child_pid=item.get("child_pid"),
        child_start=item.get("child_start"),
        code=item.get("code"),
        alphabet=item.get("alphabet", alphabet),
    )


class Outcome:
    """Peaks of one log: by tree, by process, rules alone, sequence alone, and the toy.

    Calls until 40 and 70.
    """

    def __init__(self) -> None:
        self.tree = self.process = self.rules = self.sequence = self.toy = 0
        self.to_40: int | None = None
        self.to_70: int | None = None
        self.why: list[tuple[str, str, int]] = []


def family_risk(slots: Iterable[Slot], at_us: int, family: int) -> int:
    """Risk in hundredths of one family's evidence alone."""
    return risk_hundredths(min(CAPS[family], sum(slot.at(at_us) for slot in slots if slot.family == family)))


def judge(events: list[RiskEvent], profiles: ProfileSet | None, attack_us: int | None = None) -> Outcome:
    """Run one log through a fresh engine."""
    engine = AgentEngine(RULE_SET, profiles)
    out = Outcome()
    calls = 0
    for event in events:
        effects = engine.apply(event)
        attacked = attack_us is not None and event.occurred_us >= attack_us
        calls += attacked and event.kind != "exit"
        process = engine.instances.boots["bench"].get(event.pid or 0)
        if process is not None:
            out.toy = max(out.toy, process.risk_score)
        if effects is None:
            continue
        look(engine, out, event.occurred_us)
        out.process = max([out.process, *(row.risk for row in effects.rows)])
        if attacked and out.to_40 is None and out.tree >= 4000:
            out.to_40 = calls
        if attacked and out.to_70 is None and out.tree >= 7000:
            out.to_70 = calls
    return out


def look(engine: AgentEngine, out: Outcome, at_us: int) -> None:
    """Raise the peaks to what the trees say now."""
    for state in engine.instances.states.values():
        if state.tree is None:
            continue
        risk, parts = state.tree.explain(at_us)
        if risk > out.tree:
            out.tree = risk
            out.why = [(part.slot.id, part.slot.detail, part.points) for part in parts]
        slots = list(state.tree.slots.values())
        out.rules = max(out.rules, family_risk(slots, at_us, RULES))
        out.sequence = max(out.sequence, family_risk(slots, at_us, SEQ))


def runs_of(events: list[RiskEvent], label: str) -> list[Run]:
    """The runs of one log, rules counted, nothing known before."""
    collector = RunCollector(AgentEngine(RULE_SET), label)
    for event in events:
        collector.observe(event)
    return collector.finish()


def show(name: str, out: Outcome, *, extra: str = "") -> None:
    """One line of a table: ours, the variants, the toy."""
    print(
        f"  {name:36s} tree {out.tree / 100:6.2f}  process {out.process / 100:6.2f}"
        f"  rules {out.rules / 100:6.2f}  sequence {out.sequence / 100:6.2f}"
        f"  toy {out.toy / 100:6.2f}  {extra}"
    )
    if "-v" in sys.argv:
        for evidence in out.why:
            print(f"      {evidence[0]:28s} {evidence[1]:40s} {evidence[2] / 100:6.2f}")


def median(values: list[int]) -> float:
    """The median, infinite for none."""
    ordered = sorted(values)
    if not ordered:
        return float("inf")
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def service_runs(folder: Path) -> dict[str, bool]:
    """Learn the first ten normal runs, judge the rest; leave one out over the ten; no maturity tricks."""
    rows = [line.split("\t") for line in (folder / "labels.tsv").read_text().splitlines()[1:]]
    logs = {row[0]: events_of(folder / f"{row[0]}.gz") for row in rows}
    train = [row[0] for row in rows if row[0].startswith("train")]
    runs = {name: runs_of(logs[name], name) for name in train}
    profiles = learn(None, [run for name in train for run in runs[name]], "bench")
    peaks: dict[str, Outcome] = {}
    for name, _seed, label, epoch in rows:
        if name in train:
            continue
        attack_us = int(float(epoch) * 1_000_000) if epoch else None
        peaks[name] = out = judge(logs[name], profiles, attack_us)
        show(name, out, extra=f"{label} calls to 40/70: {out.to_40}/{out.to_70}" if attack_us else label)
    left_out = []
    for name in train:
        others = learn(None, [run for other in train if other != name for run in runs[other]], "bench")
        left_out.append(judge(logs[name], others))
        show(f"left out: {name}", left_out[-1], extra="normal")
    attacks = [out for name, out in peaks.items() if "attack" in name]
    normals = [out for name, out in peaks.items() if "attack" not in name]
    highest, highest_left_out = (max(out.tree for out in outs) / 100 for outs in (normals, left_out))
    print(f"  normals: highest {highest}, left out {highest_left_out}")
    toys = sorted({out.toy for out in [*attacks, *normals, *left_out]})
    print(f"  toy peaks over all of these runs: {[toy / 100 for toy in toys]}")
    to_40 = median([out.to_40 for out in attacks if out.to_40 is not None])
    to_70 = median([out.to_70 for out in attacks if out.to_70 is not None])
    print(f"  median calls to 40: {to_40}, to 70: {to_70}")
    for name, half in (("N0 = 500", 500),):
        narrow = _with_half(profiles, half)
        risks = [judge(logs[row[0]], narrow).tree / 100 for row in rows if row[0] not in train]
        print(f"  variant {name}: {risks}")
    return {
        "service: 6/6 attacks >= 40": all(out.tree >= 4000 for out in attacks),
        "service: >= 5/6 attacks >= 70": sum(out.tree >= 7000 for out in attacks) >= 5,
        "service: no normal >= 30": all(out.tree < 3000 for out in normals),
        "service: no left-out normal >= 30": all(out.tree < 3000 for out in left_out),
        "service: median <= 200 calls to 40, <= 400 to 70": to_40 <= 200 and to_70 <= 400,
    }


def _with_half(profiles: ProfileSet, half: int) -> ProfileSet:
    """The same baselines with another N0 (a harness variant, not a setting)."""
    out = ProfileSet.unpack(profiles.pack())
    for exe, alphabet in out.baselines:
        built = out.newest(exe, alphabet)
        if built is not None:
            built.ripeness = 1_000_000 * built.baseline.calls // (built.baseline.calls + half)
    return out


def strace_set(folder: Path) -> dict[str, bool]:
    """No baseline, rules only: attack-like and benign programs."""
    found: dict[str, list[int]] = {}
    for kind in ("attacklike", "benign"):
        for path in sorted((folder / kind).glob("*.gz")):
            out = judge(events_of(path), None)
            show(f"{kind}/{path.name.partition('.')[0]}", out)
            found.setdefault(kind, []).append(out.tree)
    return {
        "strace: every attack-like >= 60": all(risk >= 6000 for risk in found["attacklike"]),
        "strace: every benign <= 30": all(risk <= 3000 for risk in found["benign"]),
    }


def audit_set(folder: Path) -> dict[str, bool]:
    """No baseline: what was captured on the audit socket; `setuid_nobody` only gives privileges up."""
    found: dict[bool, list[int]] = {True: [], False: []}
    for path in sorted((folder / "captured-here").glob("*.log*")):
        name = path.name.partition(".")[0]
        attacks = not name.startswith("benign") and name != "setuid_nobody"
        out = judge(audit_events(path), None)
        show(f"{'attack-like' if attacks else 'benign'}/{name}", out)
        found[attacks].append(out.tree)
    return {
        f"audit: {len(found[True])}/{len(found[True])} attack-like >= 60": min(found[True]) >= 6000,
        f"audit: {len(found[False])}/{len(found[False])} benign <= 30": max(found[False]) <= 3000,
    }


SETS: dict[str, Callable[[Path], dict[str, bool]]] = {
    "service-runs": service_runs,
    "strace": strace_set,
    "auditd-samples": audit_set,
    "adfa-ld": adfa,
}


def main() -> int:
    """Print all tables; the last line is one JSON object. 1 when a must is missed."""
    folder = data_folder()
    report: dict[str, Any] = {
        "bench": "risk_quality",
        "ours": None,
        "anchor": None,
        "ratio": None,
        "unit": "checks passed",
        "must": None,
        "goal": None,
        "ok": None,
    }
    if folder is None:
        print("risk_quality: SKIPPED, no development data at ../shared/data")
        print(json.dumps(report))
        return 0
    checks: dict[str, bool] = {}
    for title, run in SETS.items():
        if any(word in SETS for word in sys.argv[1:]) and title not in sys.argv[1:]:
            continue
        print(title)
        checks |= run(folder / title)
    for name, passed in checks.items():
        print(f"{'ok  ' if passed else 'MISS'} {name}")
    good = sum(checks.values())
    report |= {"ours": good, "must": len(checks), "goal": len(checks), "ok": good == len(checks)}
    print(json.dumps(report))
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
