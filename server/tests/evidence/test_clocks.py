import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from guardhouse.evidence.clocks import (
    Deadline,
    RulesInvalidError,
    add_months,
    deadlines,
    read_rules,
    shipped_rules,
)

AWARE = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
RULES = shipped_rules()


def clocks(
    *,
    conditions: frozenset[str] = frozenset(),
    sent: dict[tuple[str, str], datetime] | None = None,
    **times: datetime,
) -> dict[tuple[str, str], Deadline]:
    found = deadlines(RULES, times, conditions, sent or {}, AWARE + timedelta(hours=30))
    return {(one.regulation, one.clock): one for one in found}


def due(found: dict[tuple[str, str], Deadline], regulation: str, clock: str) -> datetime | None:
    return found[regulation, clock].due


def test_the_shipped_clocks_count_from_awareness() -> None:
    found = clocks(aware=AWARE, occurred=AWARE - timedelta(days=3))
    assert due(found, "DORA", "initial") == AWARE + timedelta(hours=24)
    assert due(found, "DORA", "intermediate") == AWARE + timedelta(hours=96)
    assert due(found, "DORA", "final") == datetime(2026, 2, 9, 10, 0, tzinfo=UTC)
    assert due(found, "NIS2", "early_warning") == AWARE + timedelta(hours=24)
    assert due(found, "NIS2", "notification") == AWARE + timedelta(hours=72)
    assert due(found, "NIS2", "final") == datetime(2026, 2, 8, 10, 0, tzinfo=UTC)
    assert due(found, "AI Act", "serious_incident") == AWARE + timedelta(days=15)
    assert due(found, "AI Act", "logs_kept_until") == datetime(2026, 7, 2, 10, 0, tzinfo=UTC)


def test_the_earlier_of_classification_and_awareness_decides() -> None:
    early = clocks(aware=AWARE, classified=AWARE + timedelta(hours=2))["DORA", "initial"]
    assert (early.due, early.basis) == (AWARE + timedelta(hours=6), "classified + 4 h")
    late = clocks(aware=AWARE, classified=AWARE + timedelta(hours=23))["DORA", "initial"]
    assert (late.due, late.basis) == (AWARE + timedelta(hours=24), "aware + 24 h")


@pytest.mark.parametrize(
    ("conditions", "days"),
    [
        (set(), 15),
        ({"death"}, 10),
        ({"widespread"}, 2),
        ({"critical_infrastructure"}, 2),
        ({"death", "widespread"}, 2),
    ],
)
def test_what_happened_shortens_the_clock_of_the_ai_act(conditions: set[str], days: int) -> None:
    found = clocks(conditions=frozenset(conditions), aware=AWARE)
    assert due(found, "AI Act", "serious_incident") == AWARE + timedelta(days=days)


def test_later_clocks_count_from_what_was_sent() -> None:
    went = AWARE + timedelta(hours=3)
    found = clocks(aware=AWARE, sent={("DORA", "initial"): went})
    assert found["DORA", "initial"].state == "sent"
    assert due(found, "DORA", "intermediate") == went + timedelta(hours=72)
    assert found["DORA", "intermediate"].basis == "initial + 72 h"
    assert found["DORA", "final"].basis == "intermediate + 1 month"


def test_states() -> None:
    found = clocks(aware=AWARE, sent={("NIS2", "notification"): AWARE + timedelta(hours=80)})
    assert found["DORA", "initial"].state == "overdue"
    assert found["DORA", "intermediate"].state == "running"
    assert found["NIS2", "notification"].state == "sent_late"
    assert found["AI Act", "logs_kept_until"].state == "waiting"
    waiting = clocks()["DORA", "initial"]
    assert (waiting.due, waiting.state, waiting.basis) == (None, "waiting", "classified or aware")
    assert clocks(occurred=AWARE)["AI Act", "logs_kept_until"].state == "kept"
    assert found["DORA", "initial"].rules_date == RULES.date


@pytest.mark.parametrize(
    ("day", "months", "wanted"),
    [
        ("2026-01-31", 1, "2026-02-28"),
        ("2028-01-31", 1, "2028-02-29"),
        ("2026-12-31", 2, "2027-02-28"),
        ("2026-03-31", 1, "2026-04-30"),
        ("2026-08-31", 6, "2027-02-28"),
        ("2027-08-29", 6, "2028-02-29"),
        ("2026-11-30", 1, "2026-12-30"),
        ("2026-12-01", 12, "2027-12-01"),
    ],
)
def test_months_are_clamped_to_their_end(day: str, months: int, wanted: str) -> None:
    moment = datetime.fromisoformat(day).replace(hour=23, minute=59, tzinfo=UTC)
    assert add_months(moment, months) == datetime.fromisoformat(wanted).replace(
        hour=23, minute=59, tzinfo=UTC
    )


@pytest.mark.parametrize("month", [1, 12])
def test_a_deadline_after_the_last_year_is_refused(month: int) -> None:
    with pytest.raises(ValueError, match="year"):
        clocks(aware=datetime(9999, month, 31, tzinfo=UTC), occurred=datetime(9999, 12, 1, tzinfo=UTC))


def rules_with(**basis: Any) -> bytes:
    clock = {"name": "a", "earliest": [{"from": "aware", "hours": 1, **basis}]}
    return json.dumps(
        {"date": "2026-01-01", "regulations": [{"name": "R", "source": "S", "clocks": [clock]}]}
    ).encode()


def test_an_operator_may_write_other_rules() -> None:
    rules = read_rules(rules_with())
    (only,) = deadlines(rules, {"aware": AWARE}, frozenset(), {}, AWARE)
    assert only.due == AWARE + timedelta(hours=1)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"{", "no JSON"),
        (b"[]", "date"),
        (b'{"date":"soon"}', "/date"),
        (b'{"date":"2026-01-01","regulations":[]}', "regulations"),
        (rules_with(**{"from": "later"}), "no clock before"),
        (rules_with(**{"from": "a"}), "no clock before"),
        (rules_with(days=1), "one of hours"),
        (rules_with(hours=-1), "one of hours"),
        (rules_with(hours=True), "one of hours"),
        (rules_with(minutes=1), "minutes"),
        (rules_with(when="full moon"), "/when"),
    ],
)
def test_rules_that_cannot_be_used_say_where(raw: bytes, said: str) -> None:
    with pytest.raises(RulesInvalidError, match=said):
        read_rules(raw)
