"""From findings to a decision: the policy says for each kind what is done, and the gravest of it decides."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from guardhouse.detections.canaries.store import Canary
from guardhouse.detections.policy import Action, Policy
from guardhouse.detections.scan_task import Found

ORDER: Final[tuple[Action, ...]] = ("allow", "redact", "review", "block")
_CANARY: Final = "canary"


@dataclass(frozen=True, slots=True)
class Finding:
    """A leak, what is done about it, and what may be shown of it."""

    found: Found
    action: Action
    evidence: str
    canary: Canary | None = None


def weigh(found: Iterable[Found], canaries: Mapping[str, Canary], policy: Policy) -> list[Finding]:
    """Return the findings from left to right; a string of a canary's form that is none is no finding."""
    findings = [
        Finding(one, getattr(policy.output, one.kind), _evidence(one, canaries), canaries.get(one.value))
        for one in found
        if one.kind != _CANARY or one.value in canaries
    ]
    return sorted(findings, key=lambda one: (one.found.start, -one.found.end))


def worst(actions: Iterable[Action]) -> Action:
    """Return the gravest action; none is ``allow``."""
    return max(actions, key=ORDER.index, default="allow")


def _evidence(found: Found, canaries: Mapping[str, Canary]) -> str:
    """Return what helps to recognise a leak and does not repeat it."""
    value = found.value
    if found.kind == _CANARY:
        return canaries[value].label
    if found.kind == "prompt_echo":
        return f"{len(value.split())} words"
    if found.kind == "md_exfil":
        return value.partition("//")[2].partition("/")[0].rpartition("@")[2][:100]
    if found.detector == "email":
        return f"{value[:1]}…@{value.rpartition('@')[2]}"
    if found.kind == "secret":
        return f"{value[: min(4, len(value) // 5)]}… ({len(value)} characters)"
    return f"{len(value)} characters"
