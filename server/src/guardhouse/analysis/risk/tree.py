"""Process trees: where one ends, what evidence it holds, its risk and its bands.

Invariants: a tree's evidence is the acts of its own processes (never what a child inherited), one entry per
(evidence id, program, detail) with the larger of the decayed old and the new value, at most 64.
"""

from fnmatch import fnmatchcase
from posixpath import basename
from typing import Any, Final

from guardhouse.analysis.risk.evidence import NAT, Finding, Slot, drop_order, falls_below, shares
from guardhouse.analysis.risk.evidence import risk_at as risk_of_slots
from guardhouse.analysis.risk.run import CALM_UNDER

LOW, MEDIUM, HIGH = range(3)
BAND_NAMES: Final = ("low", "medium", "high")
RISES_AT: Final = (0, 4_000, 7_000)  # hundredths: enters medium and high
FALLS_UNDER: Final = (0, 3_000, 6_000)  # leaves medium and high
MAX_TREE_SLOTS: Final = 64
NOTEWORTHY: Final = 700_000  # micro-nats of a new evidence id that make news inside a band
QUIET_US: Final = 600 * 1_000_000  # below medium and without new evidence for so long, it is over


def band_after(band: int, risk: int) -> int:
    """The band that follows from the old one and a risk in hundredths: hysteresis of 10 points."""
    while band < HIGH and risk >= RISES_AT[band + 1]:
        band += 1
    while band > LOW and risk < FALLS_UNDER[band]:
        band -= 1
    return band


class Boundary:
    """The programs whose children start a tree of their own.

    A service, a container, a session, a cron job.
    """

    __slots__ = ("globs", "names")

    def __init__(self, programs: list[str]) -> None:
        self.names = frozenset(name for name in programs if "*" not in name)
        self.globs = tuple(name for name in programs if "*" in name)

    def is_boundary(self, pid: int, exe: str | None) -> bool:
        """Whether a process with this pid and program is above every tree."""
        return pid <= 1 or self.names_program(exe)

    def names_program(self, exe: str | None) -> bool:
        """Whether the list has this program."""
        if exe is None:
            return False
        name = basename(exe)
        return name in self.names or any(fnmatchcase(name, glob) for glob in self.globs)


class Tree:
    """The evidence of one tree, held by its root process.

    `cools_us`: when the band falls, 0 in the low band. `warm_until_us`: until when its risk is 20.00 or more.
    `alert`: it has risen above the low band and has not been quiet since; `quiet_us`: when it will have been, 0
    while the band is above low. `peak`: its highest risk since, in hundredths; `told_s`: the last second
    something was said of it.
    """

    __slots__ = (
        "alert", "band", "cools_us", "last_us", "peak", "quiet_us", "slots", "told_s", "warm_until_us",
    )  # fmt: skip

    def __init__(self) -> None:
        self.slots: dict[tuple[str, str, str], Slot] = {}
        self.band = LOW
        self.cools_us = 0
        self.last_us = 0
        self.warm_until_us = 0
        self.alert = False
        self.quiet_us = 0
        self.peak = 0
        self.told_s = 0

    def add(self, own: Slot, finding: Finding, now_us: int) -> tuple[int, bool]:
        """Take over an act that a process's slot has just recorded; (its micro-nats, is the id new here)."""
        now_us = max(now_us, self.last_us)
        self.last_us = now_us
        fresh = not any(slot.id == own.id and slot.at(now_us) > 0 for slot in self.slots.values())
        key = (own.id, finding.exe, own.detail)
        slot = self.slots.get(key)
        if slot is None:
            slot = Slot(finding, now_us)
            slot.nats = slot.own = own.own
            slot.hits = own.hits
            slot.events = own.events
            self.slots[key] = slot
            if len(self.slots) > MAX_TREE_SLOTS:
                self._drop(slot.family, now_us)
        else:
            slot.nats = slot.own = max(slot.at(now_us), own.own)
            slot.at_us = now_us
            slot.hits += 1
            slot.weight = max(slot.weight, finding.nats)
            slot.why = own.why
            slot.cite(finding.events)
        return slot.nats, fresh

    def _drop(self, family: int, now_us: int) -> None:
        same = [key for key, slot in self.slots.items() if slot.family == family]
        pool = same if len(same) > 1 else list(self.slots)
        del self.slots[min(pool, key=lambda key: drop_order(self.slots[key], now_us))]

    def risk_at(self, now_us: int) -> int:
        """Risk of the tree in hundredths at `now_us`."""
        return risk_of_slots(self.slots.values(), max(now_us, self.last_us))

    def explain(self, now_us: int) -> tuple[int, list[Any]]:
        """(risk, shares) of the tree, see `evidence.shares`."""
        return shares(self.slots.values(), max(now_us, self.last_us))

    def warm(self, risk: int, now_us: int) -> None:
        """Note until when a tree whose risk has just become `risk` is not calm."""
        if risk >= CALM_UNDER:
            due_us = falls_below(self.slots.values(), CALM_UNDER, now_us)
            self.warm_until_us = max(self.warm_until_us, due_us)

    def settle(self) -> None:
        """Recompute when the band will fall without further evidence."""
        if self.band == LOW:
            self.cools_us = 0
        else:
            self.cools_us = falls_below(self.slots.values(), FALLS_UNDER[self.band], self.last_us)

    def wait_for_quiet(self, now_us: int, *, fresh: bool) -> None:
        """Recompute when the tree will have been quiet; `fresh`: it has just got a new evidence id."""
        if self.band != LOW:
            self.alert, self.quiet_us = True, 0
        elif self.alert and (fresh or not self.quiet_us):
            self.quiet_us = now_us + QUIET_US

    def rest(self) -> None:
        """It has been quiet: what comes from now on is another story."""
        self.alert, self.quiet_us, self.peak = False, 0, 0

    def speaks(self, now_us: int) -> bool:
        """Note that something is said now; whether it is the first word in this second."""
        second, before = now_us // NAT, self.told_s
        self.told_s = second
        return second != before

    def pack(self) -> list[Any]:
        """Fields as JSON values."""
        slots = [slot.pack() for slot in self.slots.values()]
        story = [int(self.alert), self.quiet_us, self.peak, self.told_s]
        return [self.band, self.cools_us, self.last_us, slots, story, self.warm_until_us]

    @classmethod
    def unpack(cls, packed: list[Any]) -> "Tree":
        """The tree that `pack` wrote."""
        tree = cls()
        tree.band, tree.cools_us, tree.last_us, slots, *rest = packed
        # A state of before stories were kept: the next evidence or fall begins one.
        story, tree.warm_until_us = rest or ((tree.band != LOW, 0, 0, 0), 0)
        alert, tree.quiet_us, tree.peak, tree.told_s = story
        tree.alert = bool(alert)
        for fields in slots:
            slot = Slot.unpack(fields)
            tree.slots[(slot.id, slot.exe, slot.detail)] = slot
        return tree
