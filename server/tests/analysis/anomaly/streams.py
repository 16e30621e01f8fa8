"""Streams to test with: lines of a small program, and how to send them through an engine."""

from collections.abc import Sequence

from guardhouse.analysis.anomaly.config import Config
from guardhouse.analysis.anomaly.engine import Engine
from guardhouse.analysis.anomaly.event import Event, Segment
from guardhouse.analysis.anomaly.finding import Finding, Results
from guardhouse.analysis.anomaly.splitmix import values

SECOND_US = 1_000_000
WORDS = ("alpha", "beta", "gamma", "delta", "kappa", "omega", "sigma", "theta")


def log_lines(count: int, seed: int = 1) -> list[str]:
    """Lines of twelve templates with numbers in them."""
    drawn = values(seed, 0, 2 * count).reshape(count, 2).tolist()
    return [
        f"worker {WORDS[a % 4]} finished job {b % 10**6} in {b % 997} ms, queue {WORDS[a % 3]}"
        for a, b in drawn
    ]


def word_lines(count: int, seed: int = 1) -> list[str]:
    """Lines of free words, nearly all distinct."""
    drawn = values(seed, 0, 8 * count).reshape(count, 8).tolist()
    return [" ".join(WORDS[one % 8] for one in row[: 4 + row[7] % 4]) for row in drawn]


def events(texts: Sequence[str], first: int = 1, step_us: int = SECOND_US) -> list[Event]:
    return [Event(n, n * step_us, text=text) for n, text in enumerate(texts, start=first)]


def send(engine: Engine, given: Sequence[Event], segment: int = 200) -> list[Results]:
    return [
        engine.process(Segment(given[begin : begin + segment])) for begin in range(0, len(given), segment)
    ]


def told(results: Sequence[Results]) -> list[Finding]:
    return [finding for one in results for finding in one.findings]


def ready_engine(texts: Sequence[str], **settings: object) -> Engine:
    engine = Engine(7, Config(warmup_events=len(texts), **settings))  # type: ignore[arg-type] # as the test says
    send(engine, events(texts))
    return engine
