"""What crossings make of incidents, without a database."""

from collections import Counter
from collections.abc import Iterator

from guardhouse.analysis.risk.effects import Crossing
from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import ProcessKey, RiskEvent
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.events.identify import identifier
from guardhouse.scores.incidents.book import Book, Tale

ROOT = ProcessKey("b", 100, 1, 0)
NEW_ID = identifier("tenant", "web-1")
MINUTE_US = 60_000_000
T0 = 1_767_225_600_000_000


def tale(
    direction: str, band: str, risk: int, evidence: str | None = None, at: int = 1, **more: bool
) -> Tale:
    before = {"up": "low", "down": "medium"}.get(direction, band)
    crossing = Crossing(
        ROOT, ROOT, at, T0 + at * MINUTE_US, direction, band, before, risk, evidence, 0, **more
    )
    part = {"id": evidence, "points": risk / 100, "why": "x", "events": [f"{at:032x}"]}
    return Tale(crossing, "web-1:100:1", "web-1:100:1", contributions=[part] if evidence else [])


def said(book: Book) -> list[tuple[str, int]]:
    return [(word.what, word.number) for word in book.words]


def test_a_first_rise_opens_and_each_band_and_evidence_is_told_once() -> None:
    book = Book(NEW_ID)
    for number, one in enumerate(
        [("up", "medium", 4100, "rule.a"), ("up", "high", 7100, "rule.a"), ("evidence", "high", 7500, "rule.b"),
         ("up", "high", 7200, "rule.a"), ("evidence", "high", 7300, "rule.b")]
    ):  # fmt: skip
        book.take(tale(*one, at=number + 1))
    (incident,) = book.changed.values()
    assert said(book) == [("crossed", 1), ("crossed", 2), ("crossed", 3), ("updated", 4), ("updated", 5)]
    assert (incident.status, incident.peak_risk, incident.peak_band, incident.risk) == (
        "open",
        7500,
        "high",
        7300,
    )
    assert incident.contributions[0]["id"] == "rule.b"
    assert incident.opened_position == 1
    assert book.cited == {f"{n:032x}" for n in (1, 2, 3)}


def test_falling_is_silent_and_rest_closes_once() -> None:
    book = Book(NEW_ID)
    book.take(tale("up", "medium", 4100, "rule.a", at=1))
    book.take(tale("down", "low", 2990, at=2))
    book.take(tale("quiet", "low", 2500, at=3))
    book.take(tale("quiet", "low", 2500, at=4))
    (incident,) = book.changed.values()
    assert said(book) == [("crossed", 1), ("closed", 2)]
    assert (incident.status, incident.closed_by, incident.band) == ("closed", "quiet", "low")
    book.take(tale("up", "medium", 4100, "rule.a", at=5))
    assert len(book.changed) == 2
    assert book.words[-1].what == "crossed"
    assert book.words[-1].incident.id != incident.id


def test_what_goes_on_after_a_person_closed_it_is_no_news_until_something_is_new() -> None:
    book = Book(NEW_ID)
    book.take(tale("update", "high", 9000, "rule.a"))
    book.take(tale("down", "medium", 5900))
    assert (book.words, book.changed) == ([], {})
    book.take(tale("evidence", "medium", 6500, "rule.b", at=2))
    assert said(book) == [("crossed", 1)]


def test_the_stream_is_told_at_most_once_a_second() -> None:
    book = Book(NEW_ID)
    book.take(tale("up", "medium", 4100, "rule.a"))
    book.take(tale("update", "medium", 4200, "rule.a", first_in_second=False))
    book.take(tale("up", "medium", 4100, "rule.a", first_in_second=False))
    assert said(book) == [("crossed", 1)]
    (incident,) = book.changed.values()
    assert incident.peak_risk == 4200  # all the same


def oscillation(cycles: int) -> Iterator[RiskEvent]:
    """A tree whose children read what they must not with two programs, and again when it has fallen under 30."""
    position = 0
    for cycle in range(cycles):
        for n, exe in enumerate(("/bin/cat", "/bin/less")):
            us = T0 + (82 * cycle + n) * MINUTE_US
            pid = 200 + 2 * cycle + n
            yield RiskEvent(
                position + 1, (position + 1).to_bytes(16), us, "fork", pid=100, start=1, exe="/bin/sh",
                child_pid=pid, child_start=pid,
            )  # fmt: skip
            position += 2
            yield RiskEvent(
                position, position.to_bytes(16), us, "call", pid=pid, start=pid, exe=exe, call="openat",
                args={"path": "/etc/shadow"}, ret=3,
            )  # fmt: skip


def test_a_thousand_oscillations_around_40_and_70_are_told_once_per_band_and_evidence(rules: RuleSet) -> None:
    engine, book = AgentEngine(rules), Book(NEW_ID)
    directions: Counter[str] = Counter()
    for event in oscillation(1000):
        effects = engine.apply(event)
        for crossing in () if effects is None else effects.crossings:
            directions[crossing.direction] += 1
            assert crossing.root.pid == 100
            book.take(Tale(crossing, "web-1:100:1", "web-1:100:1"))
    assert (directions["up"], directions["down"], directions["quiet"]) == (1001, 2 * 999, 0)
    told = [(word.incident.id, word.tale.crossing.band) for word in book.words if word.what == "crossed"]
    assert [band for _, band in told] == ["medium", "high"]
    assert [word for word in book.words if word.what == "closed"] == []
    assert len(book.changed) == 1
