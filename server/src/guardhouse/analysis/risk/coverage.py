"""Which techniques of the public Linux tests the rules speak to, and which not.

Invariants: a technique counts as covered only by its very own id (a rule for T1053.003 does not cover T1053), and
only by rules whose hits are added; the denominator is the whole list, what no process could show included.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from guardhouse.analysis.risk.rule import Rule

SOURCE: Final = (
    "Atomic Red Team: techniques with at least one public test for Linux; ids only, put together by hand."
)


@dataclass(frozen=True, slots=True)
class Coverage:
    """`counting` and `muted` name rules by technique; `outside` are techniques of rules that the list lacks."""

    techniques: tuple[str, ...]
    counting: dict[str, tuple[str, ...]]
    muted: dict[str, tuple[str, ...]]
    outside: dict[str, tuple[str, ...]]

    @property
    def covered(self) -> int:
        """How many techniques of the list have a rule whose hits are added."""
        return len(self.counting)


@cache
def linux_techniques() -> tuple[str, ...]:
    """The ids of the list, sorted."""
    text = (files("guardhouse.analysis.risk") / "data" / "linux_techniques.txt").read_text("ascii")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def cover(rules: Iterable[Rule]) -> Coverage:
    """Lay rules over the list."""
    listed = linux_techniques()
    counting: dict[str, list[str]] = {}
    muted: dict[str, list[str]] = {}
    for rule in rules:
        for technique in rule.attack:
            (muted if rule.muted else counting).setdefault(technique, []).append(rule.id)
    return Coverage(
        listed,
        {name: tuple(counting[name]) for name in listed if name in counting},
        {name: tuple(muted[name]) for name in listed if name in muted},
        {
            name: tuple(sorted({*counting.get(name, ()), *muted.get(name, ())}))
            for name in sorted({*counting, *muted} - set(listed))
        },
    )
