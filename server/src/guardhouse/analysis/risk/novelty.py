"""Evidence of the unusual.

Rare sequences, programs never started, path classes never opened, imported alerts.

Invariant: without a baseline each of these is worth nothing; the loss factor and the maturity only take
away.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

from guardhouse.analysis.risk.act import opens_for_writing
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.evidence import Finding, habituated
from guardhouse.analysis.risk.process import LISTENS, Process
from guardhouse.analysis.risk.profile import Profile, path_class
from guardhouse.analysis.risk.tables import MICRO, log2_micro

HALF_LIFE_S: Final = 1_800
EDGE_NATS: Final = 700_000
WRITE_NATS: Final = 700_000
READ_NATS: Final = 500_000
LISTENER_READ_NATS: Final = 900_000
SEQUENCE_CAP: Final = 900_000
ALERT_NATS: Final = {
    "emergency": 1_600_000,
    "alert": 1_600_000,
    "critical": 1_600_000,
    "error": 1_200_000,
    "warning": 800_000,
    "notice": 500_000,
}
ALERT_LEAST: Final = 300_000
ALERT_PREFIX: Final = "ext."
MAX_ALERT_ID: Final = 120
MAX_TECHNIQUES: Final = 8
_TECHNIQUE: Final = re.compile(r"(?:mitre_)?(t[0-9]{4}(?:\.[0-9]{3})?)", re.IGNORECASE)
_TACTICS: Final = {
    "reconnaissance": "TA0043", "resource_development": "TA0042", "initial_access": "TA0001",
    "execution": "TA0002", "persistence": "TA0003", "privilege_escalation": "TA0004",
    "defense_evasion": "TA0005", "credential_access": "TA0006", "discovery": "TA0007",
    "lateral_movement": "TA0008", "collection": "TA0009", "command_and_control": "TA0011",
    "exfiltration": "TA0010", "impact": "TA0040",
}  # fmt: skip


def tenths(micro: int) -> str:
    """Micro-bits as bits with one decimal."""
    whole, tenth = divmod((micro + 50_000) // 100_000, 10)
    return f"{whole}.{tenth}"


def rare_sequence(
    process: Process, profile: Profile, event_id: bytes, now_us: int, factor: int, habit: int
) -> Finding | None:
    """`seq.rare` when the running mean is over the learned limit by more than was said already.

    `habit`: what answers will leave of it, in millionths.
    """
    octaves = log2_micro(float(process.mean)) - log2_micro(float(profile.limit))
    nats = min(SEQUENCE_CAP, 6 * octaves // 10 + 100_000) * profile.maturity(factor) // MICRO
    if nats <= 0:
        return None
    kept = habituated(nats, habit)
    held = max((slot.at(now_us) for slot in process.slots or () if slot.id == "seq.rare"), default=0)
    told = max((item.nats for item in process.suppressed or () if item.id == "seq.rare"), default=0)
    if held >= kept and told >= nats - kept:
        return None
    why = (
        f"mean surprise {tenths(process.mean)} bits over the last {process.surprises} calls; "
        f"99.9 % of learned values lie below {tenths(profile.limit)}"
    )
    return Finding("seq.rare", "", nats, HALF_LIFE_S, why, (event_id,), highest=True)


def new_edge(process: Process, exe: str, event_id: bytes, factor: int) -> Finding | None:
    """`edge.new` when no learned run of the program has started `exe`."""
    profile = process.profile
    if profile is None or profile.runs == 0 or profile.knows_edge(exe):
        return None
    nats = EDGE_NATS * profile.maturity(factor) // MICRO
    why = f"{process.exe} has never started {exe} here (0 of {profile.runs} runs)"
    return Finding("edge.new", exe, nats, HALF_LIFE_S, why, (event_id,))


def new_path(process: Process, event: RiskEvent, factor: int) -> Finding | None:
    """`path.new` when no learned run of the program has opened this class of paths this way."""
    profile = process.profile
    path = (event.args or {}).get("path")
    if profile is None or not isinstance(path, str):
        return None
    access = "w" if opens_for_writing(event.call or "", (event.args or {}).get("flags")) else "r"
    if profile.knows_path(access, path):
        return None
    nats = WRITE_NATS if access == "w" else LISTENER_READ_NATS if process.flags & LISTENS else READ_NATS
    nats = nats * factor // 16 * profile.runs // (profile.runs + 5)
    kind = path_class(path)
    verb = "written to" if access == "w" else "read from"
    why = f"{profile.name} has never {verb} {kind} (0 of {profile.runs} runs): {path}"
    return Finding("path.new", f"{access} {kind}", nats, HALF_LIFE_S, why, (event.event_id,))


def imported_alert(event: RiskEvent) -> Finding:
    """`ext.<source>.<rule>` of another tool's alert, weighted by its priority; its detail names the techniques."""
    extra: dict[str, Any] = event.extra or {}
    source, rule = str(extra.get("source") or "other"), str(extra.get("rule") or "alert")
    priority = str(extra.get("priority") or "").lower()
    nats = ALERT_NATS.get(priority, ALERT_LEAST)
    why = f"{source}: {rule} ({priority or 'no priority'})"
    name = f"{ALERT_PREFIX}{source}.{rule}"[:MAX_ALERT_ID]
    return Finding(
        name, " ".join(techniques_of(extra.get("tags") or ())), nats, HALF_LIFE_S, why, (event.event_id,)
    )


def techniques_of(tags: Iterable[object]) -> list[str]:
    """The ATT&CK techniques that an alert's tags name, sorted, at most 8; its tactics when they name none."""
    words = [tag.lower() for tag in tags if isinstance(tag, str)]
    found = {match[1].upper() for word in words if (match := _TECHNIQUE.fullmatch(word)) is not None}
    if not found:
        named = (_TACTICS.get(word.removeprefix("mitre_")) for word in words if word.startswith("mitre_"))
        found = {tactic for tactic in named if tactic is not None}
    return sorted(found)[:MAX_TECHNIQUES]
