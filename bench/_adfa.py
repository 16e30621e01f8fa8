"""ADFA-LD for `risk_quality.py`: normal traces alone learned, and the verdict head, the toy beside each.

Duplicates are many: normals are split by what they are, attacks by run or family, never at random.
"""

import gzip
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from guardhouse.analysis.risk.head import Head, HeadTrace
from guardhouse.analysis.risk.legacy_score import score_hundredths, weight_of
from guardhouse.analysis.risk.surprise import CallCounts, call_number, gram, surprise
from guardhouse.analysis.risk.train_head import FOLDS, JudgedRun, area, distinct_runs, fit, highest_score

TRAINED_RUNS = 3
MEDIUM = 1_021_651  # a score from which on the head alone makes 40: 100 x (1 - e^-(score / 2))


class Trace(NamedTuple):
    """One trace: where it lies (`part`), its calls by our numbers, and the toy's score of the whole."""

    part: str
    calls: list[int]
    toy: float

    @property
    def attack(self) -> bool:
        """Whether it is of the attack folder."""
        return self.part.startswith("Attack")

    @property
    def run(self) -> int:
        """The number of the attack's run."""
        return int(self.part.rpartition("_")[2])

    @property
    def family(self) -> str:
        """The attack's family."""
        return self.part.rpartition("/")[2].rpartition("_")[0]


def adfa(folder: Path) -> dict[str, bool]:
    """All rows of this set; name of a check -> passed.

    Three calls of context are what the engine uses; four are printed because they judge this set a little
    better and the service runs worse, so the setting is seen to be a choice.
    """
    traces = list(_traces(folder))
    return _sequence(traces, 3) | _sequence(traces, 4, checked=False) | _head(traces)


def _traces(folder: Path) -> Iterator[Trace]:
    """Every development trace, i386 numbers turned into our call numbers."""
    names = dict(line.split("\t")[:2] for line in (folder / "i386_syscalls.tsv").read_text().splitlines())
    numbers = {int(number): name for number, name in names.items()}
    with gzip.open(folder / "dev.tar.gz") as raw, tarfile.open(fileobj=raw) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".txt") else None
            if file is None:
                continue
            called = [numbers.get(int(word), f"i386_{word.decode()}") for word in file.read().split()]
            part = member.name.split("/", 1)[1].rpartition("/")[0]
            toy = score_hundredths(sum(map(weight_of, called)), len(called)) / 100
            yield Trace(part, [call_number(name) for name in called], toy)


def grams_of(calls: list[int], depth: int = 3) -> Iterator[int]:
    """The grams of a trace with `depth` calls of context."""
    key = 0
    mask = (1 << (12 * depth)) - 1
    for call in calls:
        key = gram(key, call, mask)
        yield key


def _mean_bits(counts: CallCounts, calls: list[int], memo: dict[int, int]) -> float:
    total = 0
    for key in grams_of(calls, counts.depth):
        bits = memo.get(key)
        if bits is None:
            bits = memo[key] = surprise((counts,), key)
        total += bits
    return total / len(calls) / 1e6


def _caught(normal: Sequence[float], attack: Sequence[float], share: float = 0.05) -> float:
    """Share of attacks over the threshold that lets `share` of the normals through."""
    ordered = sorted(normal, reverse=True)
    threshold = ordered[int(len(ordered) * share)]
    return sum(value > threshold for value in attack) / len(attack)


def _sequence(traces: list[Trace], depth: int, *, checked: bool = True) -> dict[str, bool]:
    """Normal traces alone are learned; all development normals, and distinct traces only."""
    counts = CallCounts(depth)
    seen: set[tuple[int, ...]] = set()
    for trace in traces:
        if trace.part.startswith("Training"):
            seen.add(tuple(trace.calls))
            for key in grams_of(trace.calls, depth):
                counts.add(key)
    rows: list[tuple[bool, bool, float, float]] = []  # (attack, first of its kind, bits, toy)
    memo: dict[int, int] = {}
    for trace in traces:
        if trace.part.startswith("Training"):
            continue
        first = tuple(trace.calls) not in seen
        seen.add(tuple(trace.calls))
        rows.append((trace.attack, first, _mean_bits(counts, trace.calls, memo), trace.toy))
    checks = {}
    for name, only_first, planned, must_caught in (
        ("all", False, 0.86, 0.31),
        ("distinct", True, 0.77, 0.27),
    ):
        kept = [row for row in rows if row[1] or not only_first]
        normal, attack = ([row for row in kept if row[0] is kind] for kind in (False, True))
        ours, toy = (area([r[n] for r in normal], [r[n] for r in attack]) for n in (2, 3))
        at_5, toy_5 = (_caught([r[n] for r in normal], [r[n] for r in attack]) for n in (2, 3))
        print(
            f"  {depth} calls, {name:9s} normals {len(normal)} attacks {len(attack)}: AUC {ours:.3f} (toy "
            f"{toy:.3f}), caught at 5 % false alarms {at_5:.2f} (toy {toy_5:.2f}); planned AUC {planned}"
        )
        must = 0.84 if name == "all" else 0.77  # record 59 says why not 0.86
        checks[f"adfa, {name}: AUC >= {must}"] = ours >= must
        checks[f"adfa, {name}: caught >= {must_caught}"] = at_5 >= must_caught
    return checks if checked else {}


def _head(traces: list[Trace]) -> dict[str, bool]:
    """Attack runs 1-3 learned and 4-5 judged; then each family judged by a head that never saw it.

    Normals take turns, a fifth of the distinct ones at a time: some are hundreds of copies, and one split alone
    would say more of where they fell than of the head.
    """
    attacks = [trace for trace in traces if trace.attack]
    early = [trace for trace in attacks if trace.run <= TRAINED_RUNS]
    by_run = _heads(
        "runs 1-3 learned, 4-5 judged", traces, early, [t for t in attacks if t.run > TRAINED_RUNS]
    )
    by_family = []
    for family in sorted({trace.family for trace in attacks}):
        others = [trace for trace in attacks if trace.family != family]
        left = [trace for trace in attacks if trace.family == family]
        by_family.append(_heads(f"without {family}", traces, others, left))
    mean = sum(by_family) / len(by_family)
    print(f"  head, families left out: lowest {min(by_family):.3f}, mean {mean:.3f}")
    return {
        "adfa, head by run: AUC >= 0.96": by_run >= 0.96,
        "adfa, head, each family left out: AUC >= 0.87": min(by_family) >= 0.87,
        "adfa, head, families left out: mean AUC >= 0.92": mean >= 0.92,
    }


def _heads(name: str, traces: list[Trace], learned: list[Trace], attack: list[Trace]) -> float:
    """Print how heads tell attacks from normals they have not seen; the mean AUC over whole traces of five turns."""
    rows = []
    for turn in range(FOLDS):
        normals = [(_fold(trace), trace) for trace in traces if not trace.attack]
        known = [trace for fold, trace in normals if fold != turn]
        rows.append(_one_head([*known, *learned], [t for fold, t in normals if fold == turn], attack))
    whole, peaks, toy, of_normals, of_attacks = (fmean(column) for column in zip(*rows, strict=True))
    print(
        f"  head, {name:29s} AUC {whole:.3f} (toy {toy:.3f}), of peaks while running {peaks:.3f}; medium by it "
        f"alone: {of_normals:.1%} of normals, {of_attacks:.0%} of attacks"
    )
    return whole


def _fold(trace: Trace) -> int:
    return zlib.crc32(repr(trace.calls).encode()) % FOLDS


def _one_head(learned: list[Trace], normal: list[Trace], attack: list[Trace]) -> tuple[float, ...]:
    """(AUC of whole traces, of the peaks while running, of the toy, shares of normals and attacks at medium)."""
    head = fit(distinct_runs(map(_judged, learned)), 1, "i386")
    peaks = [[highest_score(head, grams_of(trace.calls)) for trace in part] for part in (normal, attack)]
    return (
        area([_at_end(head, trace) for trace in normal], [_at_end(head, trace) for trace in attack]),
        area(*peaks),
        area([trace.toy for trace in normal], [trace.toy for trace in attack]),
        *(sum(score >= MEDIUM for score in part) / len(part) for part in peaks),
    )


def _judged(trace: Trace) -> JudgedRun:
    return JudgedRun(trace.part, tuple(grams_of(trace.calls)), trace.attack)


def _at_end(head: Head, trace: Trace) -> int:
    shown = HeadTrace(head)
    for key in grams_of(trace.calls):
        shown.follow(key)
    return shown.score
