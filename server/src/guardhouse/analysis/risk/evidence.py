"""Evidence in nats: slots that decay, repeat, share family caps and become points that sum to the risk.

Invariants: a slot is rewritten only by a hit, never by reading; within a table nothing but decay lowers the
total; points are hundredths that sum exactly to the risk.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from guardhouse.analysis.risk.tables import decayed, risk_hundredths

NAT: Final = 1_000_000  # micro-nats

RULES, EXT, EDGE, PATH, HEAD, SEQ = range(6)
FAMILY_OF: Final = {"rule": RULES, "ext": EXT, "edge": EDGE, "path": PATH, "head": HEAD, "seq": SEQ}
CAPS: Final = (6_000_000, 2_000_000, 1_400_000, 1_200_000, 1_000_000, 900_000)
MAX_SLOTS: Final = 16
MAX_PER_FAMILY: Final = (16, 16, 4, 4, 1, 1)
MAX_CITED: Final = 8
WHY_LENGTH: Final = 200


def family_of(evidence_id: str) -> int:
    """The cap family of an evidence id: the word before its first dot.

    Raises:
        KeyError: no family has that name.
    """
    return FAMILY_OF[evidence_id.partition(".")[0]]


class Finding(NamedTuple):
    """One hit on its way into a slot; `nats` is the weight after habituation and scale, in micro-nats."""

    id: str
    detail: str
    nats: int
    half_life_s: int
    why: str
    events: tuple[bytes, ...]
    highest: bool = False  # the slot keeps the larger value instead of adding up
    exe: str = ""  # the program that was judged; empty when it was never told


class Slot:
    """One piece of evidence held by a process or a tree. `nats` and `own` are micro-nats as of `at_us`.

    `own` is the part that did not come from the parent; `weight` the largest single weight seen
    (`decayed_from`); `exe` the program that was judged, the last one when there were several.
    """

    __slots__ = (
        "at_us", "detail", "events", "exe", "family", "half_life_s", "hits", "id", "inherited", "nats", "own",
        "weight", "why",
    )  # fmt: skip

    def __init__(self, finding: Finding, at_us: int) -> None:
        self.id = finding.id
        self.detail = finding.detail
        self.exe = finding.exe
        self.family = family_of(finding.id)
        self.nats = finding.nats
        self.own = finding.nats
        self.at_us = at_us
        self.half_life_s = finding.half_life_s
        self.hits = 1
        self.weight = finding.nats
        self.events = finding.events[:MAX_CITED]
        self.why = finding.why[:WHY_LENGTH]
        self.inherited = False

    def at(self, now_us: int) -> int:
        """Micro-nats left at `now_us`."""
        return decayed(self.nats, now_us - self.at_us, self.half_life_s)

    def cite(self, events: tuple[bytes, ...]) -> None:
        """Remember events: the first seven stay, the last one is always the newest."""
        for event in events:
            if event in self.events:
                continue
            if len(self.events) < MAX_CITED:
                self.events = (*self.events, event)
            else:
                self.events = (*self.events[: MAX_CITED - 1], event)

    def repeat(self, finding: Finding, now_us: int) -> None:
        """Add a further hit of the same evidence: each counts half of the one before, up to 1.5 weights."""
        weight = finding.nats
        if finding.highest:
            total = max(self.at(now_us), weight)
            own = max(decayed(self.own, now_us - self.at_us, self.half_life_s), weight)
        else:
            share = weight >> min(self.hits, 40)
            top = weight + (weight >> 1)
            total = self.at(now_us)
            total = max(total, min(top, total + share))
            own = decayed(self.own, now_us - self.at_us, self.half_life_s)
            own = max(own, min(top, own + share))
        if finding.nats >= self.weight or total > self.nats:
            self.why = finding.why[:WHY_LENGTH]
        self.nats = total
        self.own = own
        self.at_us = max(now_us, self.at_us)
        self.hits += 1
        self.weight = max(self.weight, weight)
        self.inherited = False
        self.exe = finding.exe
        self.cite(finding.events)

    def halved(self, now_us: int) -> "Slot | None":
        """What a child starts with: half of what is left, marked inherited; None when nothing is left."""
        left = self.at(now_us) >> 1
        if left == 0:
            return None
        finding = Finding(self.id, self.detail, left, self.half_life_s, self.why, self.events, exe=self.exe)
        child = Slot(finding, now_us)
        child.own = 0
        child.hits = 0
        child.weight = self.weight
        child.inherited = True
        return child

    def pack(self) -> list[Any]:
        """Every field as JSON values, in a fixed order; `unpack` is its inverse."""
        return [
            self.id, self.detail, self.exe, self.nats, self.own, self.at_us, self.half_life_s, self.hits,
            self.weight, [event.hex() for event in self.events], self.why, int(self.inherited),
        ]  # fmt: skip

    @classmethod
    def unpack(cls, packed: list[Any]) -> "Slot":
        """The slot that `pack` wrote."""
        evidence_id, detail, exe, nats, own, at_us, half_life_s, hits, weight, events, why, inherited = packed
        cited = tuple(bytes.fromhex(event) for event in events)
        slot = cls(Finding(evidence_id, detail, nats, half_life_s, why, cited, exe=exe), at_us)
        slot.own = own
        slot.hits = hits
        slot.weight = weight
        slot.inherited = bool(inherited)
        return slot


def drop_order(slot: Slot, now_us: int) -> tuple[int, int, str, str, str]:
    """Sorts what a full table gives up first: smallest, then oldest, then by id."""
    return (slot.at(now_us), slot.at_us, slot.id, slot.detail, slot.exe)


def add_finding(slots: list[Slot], finding: Finding, now_us: int) -> tuple[Slot | None, bool]:
    """Put a hit into a process's slots; (the slot or None when the full table dropped it, was it new here).

    A table that is full gives up a slot of the same family when there is one, so that no cap can turn more
    evidence into less.
    """
    for slot in slots:
        if slot.id == finding.id and slot.detail == finding.detail:
            fresh = slot.inherited
            slot.repeat(finding, now_us)
            return slot, fresh
    new = Slot(finding, now_us)
    slots.append(new)
    same = [slot for slot in slots if slot.family == new.family]
    if len(same) > MAX_PER_FAMILY[new.family] or len(slots) > MAX_SLOTS:
        pool = same if len(same) > 1 else slots
        victim = min(pool, key=lambda slot: drop_order(slot, now_us))
        slots.remove(victim)
        if victim is new:
            return None, False
    return new, True


def family_sums(slots: Iterable[Slot], now_us: int) -> list[int]:
    """Uncapped micro-nats per family at `now_us`."""
    sums = [0] * len(CAPS)
    for slot in slots:
        sums[slot.family] += slot.at(now_us)
    return sums


def total_nats(slots: Iterable[Slot], now_us: int) -> int:
    """A = the sum over families of min(cap, sum), micro-nats."""
    return sum(map(min, CAPS, family_sums(slots, now_us)))


def risk_at(slots: Iterable[Slot], now_us: int) -> int:
    """The risk in hundredths at `now_us`."""
    return risk_hundredths(total_nats(slots, now_us))


class Share(NamedTuple):
    """One slot's part of the risk.

    Micro-nats left now, micro-nats after its family's cap, points in hundredths.
    """

    slot: Slot
    nats: int
    capped: int
    points: int


def shares(slots: Iterable[Slot], now_us: int) -> tuple[int, list[Share]]:
    """(risk in hundredths, shares): points by largest remainder, so they sum exactly to the risk.

    Largest share first; equal ones by id, detail and exe.
    """
    left = [(slot, slot.at(now_us)) for slot in slots]
    left = [(slot, nats) for slot, nats in left if nats > 0]
    sums = [0] * len(CAPS)
    for slot, nats in left:
        sums[slot.family] += nats
    total = sum(map(min, CAPS, sums))
    risk = risk_hundredths(total)
    if not left or total == 0:
        return risk, []
    scale = 1
    for value in sums:
        scale *= value or 1
    rows = []
    for slot, nats in left:
        # points = risk * nats * F / (sum * total), over the common denominator scale * total
        capped = min(CAPS[slot.family], sums[slot.family])
        numerator = risk * nats * capped * (scale // sums[slot.family])
        floor, rest = divmod(numerator, scale * total)
        rows.append((rest, floor, slot, nats, nats * capped // sums[slot.family]))
    short = risk - sum(row[1] for row in rows)
    rows.sort(key=lambda row: (-row[0], row[2].id, row[2].detail, row[2].exe))
    out = [
        Share(slot, nats, capped, floor + (1 if rank < short else 0))
        for rank, (_, floor, slot, nats, capped) in enumerate(rows)
    ]
    out.sort(key=lambda share: (-share.points, share.slot.id, share.slot.detail, share.slot.exe))
    return risk, out


def falls_below(slots: Iterable[Slot], threshold: int, from_us: int) -> int:
    """The first whole event-time second (in µs) at or after `from_us` at which the risk is under `threshold`.

    Exact, whoever asks and whenever: risk never rises by decay, so a bisection over seconds finds it.
    """
    held = list(slots)
    low = from_us // NAT - 1
    high = low + 1

    def under(second: int) -> bool:
        return risk_at(held, second * NAT) < threshold

    step = 1
    while not under(high):
        low = high
        high += step
        step *= 2
    while high - low > 1:
        middle = (low + high) // 2
        if under(middle):
            high = middle
        else:
            low = middle
    return high * NAT


def habituated(nats: int, factor_micro: int) -> int:
    """A weight after habituation; the factor is 1,000,000 for never seen, 0 for always."""
    return nats * factor_micro // 1_000_000
