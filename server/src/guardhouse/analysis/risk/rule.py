"""One rule, compiled: its steps, what they leave behind, and what a hit is worth.

Invariant: a rule may need only facts and flags that the engine or the rule itself sets.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from guardhouse.analysis.risk.act import Act
from guardhouse.analysis.risk.conditions import Condition

MAX_WEIGHT: Final = 3.0
MINUTE: Final = 60
HALF_LIFE_S: Final = {
    "recon": 10 * MINUTE,
    "shell": 30 * MINUTE,
    "injection": 30 * MINUTE,
    "escape": 30 * MINUTE,
    "credentials": 30 * MINUTE,
    "evasion": 30 * MINUTE,
    "impact": 30 * MINUTE,
    "persistence": 60 * MINUTE,
    "fileless": 60 * MINUTE,
    "module": 60 * MINUTE,
}
CALL_GROUPS: Final = {
    "@exec": ["execve", "execveat"],
    "@open": ["open", "openat", "openat2", "creat"],
    "@rename": ["rename", "renameat", "renameat2"],
    "@unlink": ["unlink", "unlinkat"],
    "@chmod": ["chmod", "fchmod", "fchmodat", "fchmodat2"],
    "@dup": ["dup", "dup2", "dup3"],
    "@setuid": ["setuid", "setreuid", "setresuid", "setuid32", "setreuid32", "setresuid32"],
}
BUILTIN: Final = "builtin"
TENANT: Final = "tenant"


@dataclass(frozen=True, slots=True)
class Step:
    """One watched act: which calls, under which conditions, and what it leaves behind."""

    calls: tuple[str, ...]
    on_path: tuple[Condition, ...]
    others: tuple[Condition, ...]
    unless: tuple[tuple[Condition, ...], ...]
    need_flag: int
    set_flag: int
    need_fact: int
    set_fact: int
    failed: str  # allow | only | no
    item: Callable[[Act], str] | None

    @property
    def writes_only(self) -> bool:
        """Whether an open for reading can never pass."""
        return any(c.field == "access" and not c.passes("r") for c in self.others)

    def holds(self, act: Act) -> bool:
        """Every condition but those on the path alone, which the table has already decided."""
        failed = act.event.failed
        if (failed and self.failed == "no") or (not failed and self.failed == "only"):
            return False
        for condition in self.others:
            if not condition.holds(act):
                return False
        return not any(all(condition.holds(act) for condition in table) for table in self.unless)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, compiled. `weight` is micro-nats, `within_us` 0 for no limit.

    `muted` says why hits are counted but not added, "" when they are added; `tally` is the name under which a
    process keeps the rule's progress, another one for each version of its steps.
    """

    id: str
    version: int
    title: str
    attack: tuple[str, ...]
    family: str
    weight: int
    half_life_s: int
    scope: str  # process | parent | tree
    within_us: int
    in_order: bool
    steps: tuple[Step, ...]
    count: int  # hits from this many on, 0 when every completed match is one
    again: int  # and again each so many, 0 for once per window
    distinct: int  # distinct items needed, 0 when items do not matter
    full_at: int  # items at which the weight is whole, 0 for always
    scales: tuple[tuple[tuple[Condition, ...], int], ...]
    excepts: tuple[tuple[Condition, ...], ...]
    why: Callable[[Act, Mapping[str, str]], str]
    muted: str
    tally: str
    source: Mapping[str, Any] = field(compare=False)
    origin: str = BUILTIN

    @property
    def evidence_id(self) -> str:
        """The id of its evidence."""
        return f"rule.{self.id}"

    @property
    def tests(self) -> tuple[dict[str, Any], ...]:
        """The event lists that must hit and those that must not."""
        return tuple(self.source["test"])
