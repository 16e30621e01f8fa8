"""Deadlines that regulations hang on an incident, computed from times that people enter. For planning only.

The rules are data with a date, so that an operator can put a newer file in their place. Times are UTC. Months are
calendar months, clamped to the end of a shorter one. What was sent is what later clocks count from.
"""

import json
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from importlib.resources import files
from typing import Any, Final

NOTE: Final = "Deadlines for planning; Guardhouse does not state compliance."
TIMES: Final = ("occurred", "detected", "aware", "classified")
CONDITIONS: Final = ("death", "widespread", "critical_infrastructure")
LONGEST: Final = 10_000
"""The largest number of hours, days or months in a rule."""
_MONTHS: Final = 12


class RulesInvalidError(ValueError):
    """A file of rules that cannot be used; the message names the place and what is wrong there."""


@dataclass(frozen=True, slots=True)
class Basis:
    """One way to a deadline: so long after a time of the incident, or after an earlier clock of the regulation."""

    start: str
    hours: int = 0
    days: int = 0
    months: int = 0
    when: str = ""

    def after(self, begin: datetime) -> datetime:
        """The moment that this basis leads to."""
        try:
            return add_months(begin, self.months) + timedelta(days=self.days, hours=self.hours)
        except OverflowError as error:
            raise ValueError("a deadline lies after the year 9999") from error


@dataclass(frozen=True, slots=True)
class Clock:
    """A deadline: the earliest of its bases that apply. With `keep` it says until when something must be kept."""

    name: str
    earliest: tuple[Basis, ...]
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Regulation:
    """The clocks of one regulation, in the order in which they may lean on each other."""

    name: str
    source: str
    clocks: tuple[Clock, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """A file of rules and its date."""

    date: date
    regulations: tuple[Regulation, ...]


@dataclass(frozen=True, slots=True)
class Deadline:
    """One clock of one incident.

    `due` is None while the times it needs are unknown; `basis` says what it was counted from, as in `aware + 24 h`.
    `state`: waiting, running, overdue, sent, sent_late; `kept` for a clock that says how long to keep.
    """

    regulation: str
    clock: str
    due: datetime | None
    basis: str
    sent: datetime | None
    state: str
    rules_date: date


def add_months(moment: datetime, months: int) -> datetime:
    """The same day and time some calendar months later, or the last day of a shorter month."""
    year, month = divmod(moment.year * _MONTHS + moment.month - 1 + months, _MONTHS)
    last = monthrange(year, month + 1)[1]
    return moment.replace(year=year, month=month + 1, day=min(moment.day, last))


def deadlines(
    rules: Rules,
    times: Mapping[str, datetime],
    conditions: frozenset[str],
    sent: Mapping[tuple[str, str], datetime],
    now: datetime,
) -> list[Deadline]:
    """Compute every clock.

    `times` holds those of `TIMES` that are known, `conditions` those of `CONDITIONS` that hold, `sent` when a report
    went out, by (regulation, clock). All times have a zone.

    Raises:
        ValueError: a deadline lies after the year 9999.
    """
    found: list[Deadline] = []
    for regulation in rules.regulations:
        starts = dict(times)
        for clock in regulation.clocks:
            due, basis = _earliest(clock, starts, conditions)
            went = sent.get((regulation.name, clock.name))
            state = _state(clock, due, went, now)
            found.append(Deadline(regulation.name, clock.name, due, basis, went, state, rules.date))
            begin = went or due
            if begin is not None:
                starts[clock.name] = begin
    return found


def _earliest(
    clock: Clock, starts: Mapping[str, datetime], conditions: frozenset[str]
) -> tuple[datetime | None, str]:
    applying = [
        (basis.after(starts[basis.start]), _words(basis))
        for basis in clock.earliest
        if basis.start in starts and (not basis.when or basis.when in conditions)
    ]
    if applying:
        return min(applying, key=lambda pair: pair[0])
    return None, " or ".join(dict.fromkeys(basis.start for basis in clock.earliest if not basis.when))


def _words(basis: Basis) -> str:
    length = (
        f"{basis.months} months"
        if basis.months
        else f"{basis.days} days"
        if basis.days
        else f"{basis.hours} h"
    )
    if basis.months == 1:
        length = "1 month"
    return f"{basis.start} + {length}" + (f" ({basis.when})" if basis.when else "")


def _state(clock: Clock, due: datetime | None, sent: datetime | None, now: datetime) -> str:
    if clock.keep:
        return "waiting" if due is None else "kept"
    if sent is not None:
        return "sent_late" if due is not None and sent > due else "sent"
    if due is None:
        return "waiting"
    return "overdue" if now > due else "running"


def shipped_rules() -> Rules:
    """The rules that came with this version."""
    return read_rules((files("guardhouse.evidence") / "clocks.json").read_bytes())


def read_rules(raw: bytes) -> Rules:
    """Read a file of rules.

    Raises:
        RulesInvalidError: with the place, and what is wrong there.
    """
    try:
        told = json.loads(raw)
    except ValueError as error:
        raise RulesInvalidError(f"the file is no JSON: {error}") from error
    try:
        dated = date.fromisoformat(_text(told, "date", "/"))
    except ValueError as error:
        raise RulesInvalidError(f"/date: {error}") from error
    regulations = tuple(
        _regulation(one, f"/regulations/{place}") for place, one in enumerate(_list(told, "regulations", "/"))
    )
    return Rules(dated, regulations)


def _regulation(told: Any, where: str) -> Regulation:
    clocks: list[Clock] = []
    for place, one in enumerate(_list(told, "clocks", where)):
        here = f"{where}/clocks/{place}"
        known = {*TIMES, *(clock.name for clock in clocks)}
        bases = tuple(
            _basis(basis, known, f"{here}/earliest/{number}")
            for number, basis in enumerate(_list(one, "earliest", here))
        )
        clocks.append(Clock(_text(one, "name", here), bases, bool(one.get("keep"))))
    return Regulation(_text(told, "name", where), _text(told, "source", where), tuple(clocks))


def _basis(told: Any, known: set[str], where: str) -> Basis:
    start = _text(told, "from", where)
    if start not in known:
        raise RulesInvalidError(f"{where}/from: {start} is no time and no clock before this one")
    unknown = set(told) - {"from", "hours", "days", "months", "when"}
    if unknown:
        raise RulesInvalidError(f"{where}: {min(unknown)} is not known here")
    lengths = {name: told[name] for name in ("hours", "days", "months") if name in told}
    if len(lengths) != 1 or not all(type(one) is int and 0 < one <= LONGEST for one in lengths.values()):
        raise RulesInvalidError(f"{where}: one of hours, days, months as a whole number from 1 to 10000")
    when = told.get("when", "")
    if when and when not in CONDITIONS:
        raise RulesInvalidError(f"{where}/when: one of {', '.join(CONDITIONS)}")
    return Basis(start, when=when, **lengths)


def _text(told: Any, name: str, where: str) -> str:
    value = told.get(name) if isinstance(told, dict) else None
    if not isinstance(value, str) or not value:
        raise RulesInvalidError(f"{where}: {name} is a text")
    return value


def _list(told: Any, name: str, where: str) -> list[Any]:
    value = told.get(name) if isinstance(told, dict) else None
    if not isinstance(value, list) or not value:
        raise RulesInvalidError(f"{where}: {name} is a list that is not empty")
    return value
