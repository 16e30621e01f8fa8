"""What evidence amounts to: risk, bands, score rows, crossings of trees, and cooling at the exact second.

Invariants: evidence enters a process and its tree together; a row or crossing depends on events alone, so a
band that falls by cooling is dated by the arithmetic, not by whoever noticed.
"""

from typing import Final, NamedTuple

from guardhouse.analysis.risk.effects import Crossing, Effects, Input, RunEnd, ScoreRow
from guardhouse.analysis.risk.event import ProcessKey
from guardhouse.analysis.risk.evidence import (
    CAPS,
    NAT,
    SEQ,
    Finding,
    add_finding,
    falls_below,
    family_sums,
    risk_at,
    shares,
)
from guardhouse.analysis.risk.instances import Instances
from guardhouse.analysis.risk.process import Process
from guardhouse.analysis.risk.tables import risk_hundredths
from guardhouse.analysis.risk.tree import BAND_NAMES, FALLS_UNDER, LOW, NOTEWORTHY, Tree, band_after

NEVER: Final = 1 << 62
OF_PROCESS, OF_TREE, REST = range(3)  # what changes by time: a process's band, a tree's band, its rest
RISE: Final = 500  # hundredths of risk since the last row that are worth a row
ROW_EVIDENCE: Final = 16


class News(NamedTuple):
    """Evidence that reached a tree within one event."""

    root: ProcessKey
    process: ProcessKey
    evidence_id: str
    nats: int
    fresh: bool


def anomaly_score(process: Process, now_us: int) -> int | None:
    """100 x (1 - e^-F_seq) in hundredths; None while there is no baseline."""
    if process.profile is None or process.profile.ripeness == 0:
        return None
    if process.slots is None:
        return 0
    return risk_hundredths(min(CAPS[SEQ], family_sums(process.slots, now_us)[SEQ]))


def run_so_far(process: Process, last: int, heard: tuple[int, int], edge: str | None = None) -> RunEnd | None:
    """The run that goes on in a process as it would end with the position `last`; None without a call in it."""
    run = process.run
    if run is None or process.exe is None or process.calls == run.calls:
        return None
    return RunEnd(
        process.key,
        process.root,
        process.exe,
        process.alphabet,
        run.after,
        last,
        run.started_us,
        process.last_us,
        run.list_hits(),
        edge,
        True,  # noqa: FBT003 - until its tree is asked
        heard[0] - run.received,
        heard[1] - run.lost,
    )


class Scorer:
    """Collects what one event changes and turns it into effects.

    `pending` is true when there is something.
    """

    __slots__ = (
        "cooling",
        "crossings",
        "ended",
        "inputs",
        "instances",
        "news",
        "next_cool_us",
        "pending",
        "rows",
        "touched",
        "unsaved",
    )

    def __init__(self, instances: Instances) -> None:
        self.instances = instances
        self.pending = False
        self.touched: dict[ProcessKey, set[str]] = {}
        self.news: list[News] = []
        self.rows: list[ScoreRow] = []
        self.crossings: list[Crossing] = []
        self.inputs: list[Input] = []
        self.ended: list[RunEnd] = []  # calm is judged at the end of the event
        self.cooling: dict[tuple[ProcessKey, int], int] = {}  # (key, what changes) -> instant
        self.next_cool_us = NEVER
        self.unsaved: list[Process] = []

    def soil(self, process: Process) -> None:
        """This process's state differs from what is stored."""
        if not process.dirty:
            process.dirty = True
            self.unsaved.append(process)

    def soil_hot(self) -> None:
        """The states that will change by time alone differ from what is stored."""
        for key, _what in self.cooling:
            self.soil(self.instances.states[key])

    def touch(self, process: Process, reason: str | None = None) -> None:
        """This process may need a row; with a reason it gets one."""
        self.pending = True
        reasons = self.touched.setdefault(process.key, set())
        if reason is not None:
            reasons.add(reason)

    def note_input(self, item: Input) -> None:
        """Keep what a process took from others."""
        self.pending = True
        self.inputs.append(item)

    def tree_of(self, process: Process) -> Tree | None:
        """The tree a process belongs to, made when first needed; None when its root is not known any more."""
        root = self.instances.states.get(process.root)
        if root is None:
            return None
        self.soil(root)
        if root.tree is None:
            root.tree = Tree()
        return root.tree

    def record(self, owner: Process, finding: Finding, now_us: int) -> None:
        """Enter a finding into its process and tree."""
        if finding.nats <= 0:
            return
        if owner.slots is None:
            owner.slots = []
        owner.last_us = max(owner.last_us, now_us)
        slot, fresh = add_finding(owner.slots, finding, now_us)
        self.soil(owner)
        if slot is None:
            return
        self.touch(owner, "evidence" if fresh else None)
        tree = self.tree_of(owner)
        if tree is not None:
            nats, fresh_in_tree = tree.add(slot, finding, now_us)
            self.news.append(News(owner.root, owner.key, finding.id, nats, fresh_in_tree))

    def finish(self, position: int, now_us: int) -> Effects:
        """Rows and crossings of everything touched since the last finish."""
        states = self.instances.states
        changed: list[Process] = []
        for key, reasons in self.touched.items():
            process = states[key]
            at_us = max(now_us, process.last_us)
            risk = 0 if process.slots is None else risk_at(process.slots, at_us)
            band = band_after(process.band, risk)
            if band != process.band:
                reasons.add("band")
                process.band = band
            if risk >= process.row_risk + RISE:
                reasons.add("risk")
            changed.append(process)
            self._schedule(process)
        self._cross(position, now_us)
        for process in changed:
            if self.touched[process.key]:
                self._row(process, position, max(now_us, process.last_us), self.touched[process.key])
        runs = [end._replace(calm=self._calm(end)) for end in self.ended] if self.ended else []
        effects = Effects(self.rows, self.crossings, self.inputs, runs)
        self.touched = {}
        self.news = []
        self.rows, self.crossings, self.inputs, self.ended = [], [], [], []
        self.pending = False
        return effects

    def end_run(self, process: Process, last: int, heard: tuple[int, int], edge: str | None = None) -> None:
        """End the run that goes on in a process with the position `last`; one without a call is none.

        `heard`: events the agent has received and lost until now; `edge`: the program that an exec starts.
        """
        end = run_so_far(process, last, heard, edge)
        process.run = None
        if end is not None:
            self.pending = True
            self.ended.append(end)

    def _calm(self, end: RunEnd) -> bool:
        root = self.instances.states.get(end.root)
        return root is None or root.tree is None or root.tree.warm_until_us <= end.started_us

    def _row(self, process: Process, position: int, at_us: int, reasons: set[str]) -> None:
        risk, parts = (0, []) if process.slots is None else shares(process.slots, at_us)
        root = self.instances.states.get(process.root)
        tree_risk = 0 if root is None or root.tree is None else root.tree.risk_at(at_us)
        process.row_risk = risk
        self.rows.append(
            ScoreRow(
                process.key,
                process.root,
                position,
                at_us,
                risk,
                tree_risk,
                process.risk_score,
                anomaly_score(process, at_us),
                BAND_NAMES[process.band],
                tuple(sorted(reasons)),
                [[part.slot.id, part.nats, part.points] for part in parts[:ROW_EVIDENCE]],
            )
        )

    def _cross(self, position: int, now_us: int) -> None:
        """Upward crossings and noteworthy new evidence of the trees that got news."""
        roots: dict[ProcessKey, list[News]] = {}
        for news in self.news:
            roots.setdefault(news.root, []).append(news)
        for key, items in roots.items():
            root = self.instances.states[key]
            tree = root.tree
            if tree is None:
                continue
            at_us = max(now_us, tree.last_us)
            risk = tree.risk_at(at_us)
            tree.warm(risk, at_us)
            before = tree.band
            tree.band = band_after(before, risk)
            tree.wait_for_quiet(at_us, fresh=any(news.fresh for news in items))
            if tree.alert:
                names = (BAND_NAMES[tree.band], BAND_NAMES[before])
                for direction, news in _told(tree, before, risk, at_us, items):
                    self.crossings.append(
                        Crossing(key, news.process, position, at_us, direction, *names, risk,
                                 news.evidence_id, news.nats, tree.speaks(at_us))
                    )  # fmt: skip
                tree.peak = max(tree.peak, risk)
            self._plan_tree(key, tree)

    def _schedule(self, process: Process) -> None:
        """Plan when this process's band falls if nothing more happens."""
        if process.band == LOW or process.slots is None:
            self._plan_cooling((process.key, OF_PROCESS), NEVER)
            return
        latest = max(slot.at_us for slot in process.slots)
        due_us = falls_below(process.slots, FALLS_UNDER[process.band], latest)
        self._plan_cooling((process.key, OF_PROCESS), due_us)

    def _plan_tree(self, key: ProcessKey, tree: Tree) -> None:
        """Plan what becomes of a tree if nothing more happens."""
        tree.settle()
        self._plan_cooling((key, OF_TREE), tree.cools_us or NEVER)
        self._plan_cooling((key, REST), tree.quiet_us or NEVER)

    def _plan_cooling(self, place: tuple[ProcessKey, int], due_us: int) -> None:
        if due_us == NEVER:
            if self.cooling.pop(place, None) is not None:
                self.next_cool_us = min(self.cooling.values(), default=NEVER)
            return
        self.cooling[place] = due_us
        self.next_cool_us = min(self.cooling.values())

    def load(self, process: Process) -> None:
        """Plan the cooling of a process that has just been loaded."""
        if process.band != LOW:
            self._schedule(process)
        if process.tree is not None and process.tree.alert:
            self._plan_cooling((process.key, OF_TREE), process.tree.cools_us or NEVER)
            self._plan_cooling((process.key, REST), process.tree.quiet_us or NEVER)

    def cool(self, position: int, until_us: int) -> None:
        """Let every band fall and tree rest whose instant is not after `until_us`, in the order of those."""
        while self.next_cool_us <= until_us:
            due_us, key, what = min((us, place[0], place[1]) for place, us in self.cooling.items())
            process = self.instances.states[key]
            self.pending = True
            self.soil(process)
            if what != OF_PROCESS and process.tree is not None:
                self._cool_tree(process, process.tree, position, due_us)
            else:
                risk = risk_at(process.slots or [], due_us)
                process.band = band_after(process.band, risk)
                self._row(process, position, due_us, {"band"})
                if process.band == LOW:
                    self._plan_cooling((key, OF_PROCESS), NEVER)
                else:
                    again_us = falls_below(process.slots or [], FALLS_UNDER[process.band], due_us)
                    self._plan_cooling((key, OF_PROCESS), again_us)

    def _cool_tree(self, process: Process, tree: Tree, position: int, due_us: int) -> None:
        before = tree.band
        tree.last_us = max(tree.last_us, due_us)
        risk = tree.risk_at(due_us)
        tree.band = band_after(before, risk)
        rests = before == LOW
        if rests:
            tree.rest()
        else:
            tree.wait_for_quiet(due_us, fresh=False)
        names = (BAND_NAMES[tree.band], BAND_NAMES[before])
        direction = "quiet" if rests else "down"
        self.crossings.append(
            Crossing(process.key, process.key, position, due_us, direction, *names, risk, None, 0)
        )
        self._plan_tree(process.key, tree)


def _told(tree: Tree, before: int, risk: int, at_us: int, items: list[News]) -> list[tuple[str, News]]:
    """What is to be said of a tree that got these news: its rise, noteworthy evidence, or that it goes on."""
    first = max(items, key=lambda news: (news.fresh, news.nats, news.evidence_id))
    if tree.band > before:
        return [("up", first)]
    noteworthy: dict[str, News] = {}
    for news in items:
        if tree.band != LOW and news.fresh and news.nats >= NOTEWORTHY:
            noteworthy.setdefault(news.evidence_id, news)
    if noteworthy:
        return [("evidence", news) for news in noteworthy.values()]
    goes_on = risk > tree.peak or at_us // NAT != tree.told_s
    return [("update", first)] if goes_on else []
