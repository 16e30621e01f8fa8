"""Events per second and core through the anomaly engine: repeated templates, lines that are all distinct, learning.

The anchor of both is the first product's way in the same run: the NCD of a window of 50 events, every 10, against the
100 before it, with the 49 shuffles at least that its p-value needs to reach .02. Beside it stands a bare counter of
templates (one regular expression and a dictionary), which scores nothing. Times are processor time.
"""

import json
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable

from guardhouse.analysis.anomaly.coder import Coder
from guardhouse.analysis.anomaly.config import Config
from guardhouse.analysis.anomaly.engine import Engine
from guardhouse.analysis.anomaly.event import Event, Segment
from guardhouse.analysis.anomaly.glassbox import Compressor, Sample, permutation_test
from guardhouse.analysis.anomaly.splitmix import values

WARM, COUNT, SEGMENT, ROUNDS = 4000, 60_000, 1000, 3
UNIQUE = 12_000
WORDS = [
    f"{first}{second}"
    for first in ("ac", "be", "co", "di", "en", "fo")
    for second in ("ter", "lin", "mas", "xon")
]


def repeated(count: int, seed: int) -> list[str]:
    """Lines of about 130 bytes from 200 templates with numbers in them."""
    drawn = values(seed, 0, 3 * count).reshape(count, 3).tolist()
    return [
        f"2026-01-05T10:{a % 60:02}:{b % 60:02} host-{a % 20} service[{b % 30000}]: request {WORDS[a % 20]} "
        f"{WORDS[b % 10]} from 10.0.{a % 256}.{b % 256} took {c % 5000} ms, status {200 + c % 5}, bytes {c % 10**6}"
        for a, b, c in drawn
    ]


def distinct(count: int, seed: int) -> list[str]:
    """Lines of about 130 bytes that are all different under every mask."""
    drawn = values(seed, 0, 18 * count).reshape(count, 18).tolist()
    return [" ".join(WORDS[one % 24] + "aeiouy"[one // 24 % 6] for one in row) for row in drawn]


def events(texts: list[str], first: int) -> list[Event]:
    """Texts as events, a thousand a second."""
    return [Event(n, n * 1000, text=text) for n, text in enumerate(texts, start=first)]


def through(engine: Engine, given: list[Event]) -> None:
    """Send events through the engine, a full segment at a time."""
    for begin in range(0, len(given), SEGMENT):
        engine.process(Segment(given[begin : begin + SEGMENT]))


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of one call."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def original(lines: list[bytes]) -> None:
    """The first product's rule over lines: each hop a distance and its permutation test."""
    compressor = Compressor()
    for end in range(150, len(lines) + 1, 10):
        sample = Sample(tuple(lines[end - 150 : end - 50]), tuple(lines[end - 50 : end]), shrunk=False)
        permutation_test(sample, end, 49, compressor)


def counter(lines: list[bytes]) -> None:
    """A template counter that judges nothing."""
    Counter(re.sub(rb"[0-9]+", b"#", b"\n".join(lines)).split(b"\n"))


def measure(name: str, make: Callable[[int, int], list[str]], count: int, must: int, goal: int) -> bool:
    """Bring a stream to its longest epochs, then score in turns with the anchors, print the figure."""
    steady = 66_000 if make is repeated else 6_000
    engine = Engine(1, Config(warmup_events=WARM))
    through(engine, events(make(steady, 1), 1))
    ours, theirs, bare = [], [], []
    for turn in range(ROUNDS):
        given = events(make(count, 2 + turn), engine.seq + 1)
        raw = [event.text.encode() for event in given if event.text]
        ours.append(count / seconds(lambda given=given: through(engine, given)))
        few = raw[:650]
        theirs.append((len(few) - 150) / seconds(lambda few=few: original(few)))
        bare.append(count / seconds(lambda raw=raw: counter(raw)))
    mine, anchor = statistics.median(ours), statistics.median(theirs)
    print(
        f"{name}: {mine:,.0f} events/s, the original rule {anchor:,.0f}, bare counter {statistics.median(bare):,.0f}"
    )
    finish(name, mine, anchor, must, goal)
    return mine >= must


def finish(name: str, ours: float, anchor: float | None, must: int, goal: int) -> None:
    """Print one figure as JSON."""
    print(
        json.dumps(
            {
                "bench": name,
                "ours": round(ours),
                "anchor": anchor and round(anchor),
                "ratio": anchor and round(ours / anchor, 1),
                "unit": "events/s per core",
                "must": must,
                "goal": goal,
                "ok": ours >= must,
            }
        )
    )


def learning() -> bool:
    """Lines per second that the coder learns in batches of 512."""
    found = []
    for turn in range(ROUNDS):
        lines = [text.encode() for text in distinct(5120, 20 + turn)]
        coder = Coder()
        taken = seconds(
            lambda lines=lines, coder=coder: [coder.learn(lines[at : at + 512]) for at in range(0, 5120, 512)]
        )
        found.append(5120 / taken)
    mine = statistics.median(found)
    print(f"learning: {mine:,.0f} distinct lines/s")
    finish("anomaly_learning", mine, None, 15_000, 40_000)
    return mine >= 15_000


def main() -> int:
    """Measure all three; the figure of repeated templates comes last."""
    good = learning()
    good &= measure("anomaly_unique", distinct, UNIQUE, 17_000, 60_000)
    good &= measure("anomaly_repeated", repeated, COUNT, 140_000, 500_000)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
