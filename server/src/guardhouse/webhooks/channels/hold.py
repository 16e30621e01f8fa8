"""When a notice becomes a notification of a channel, and when it waits for the next summary. Pure.

People are told once per incident and again at its end; about anything else at most once in the grouping time unless
it grows worse; at most so often in an hour; and at night only of what is critical. What waits is counted, never lost.
"""

from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from enum import Enum
from typing import Final
from zoneinfo import ZoneInfo

from guardhouse.notices.kind import Severity

HOUR: Final = timedelta(hours=1)
INCIDENT: Final = "incident:"


@dataclass(frozen=True, slots=True)
class QuietHours:
    """A part of each day in which only critical notices pass; it may span midnight. Times are local to the zone."""

    start: time
    end: time
    zone: str

    def until(self, now: datetime) -> datetime | None:
        """Return when the quiet that holds now ends, or None outside it."""
        local = now.astimezone(ZoneInfo(self.zone))
        clock = local.time()
        over_midnight = self.start > self.end
        since_start, before_end = clock >= self.start, clock < self.end
        if not (since_start or before_end if over_midnight else since_start and before_end):
            return None
        day = local.date() + timedelta(days=1 if clock >= self.end else 0)
        return datetime.combine(day, self.end, ZoneInfo(self.zone)).astimezone(now.tzinfo)


@dataclass(frozen=True, slots=True)
class Rules:
    """How much a channel may say. ``escalations``: tell of an incident again when it grows worse."""

    group_seconds: int = 60
    max_per_hour: int = 20
    escalations: bool = False
    quiet: QuietHours | None = None
    stream: str | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """What a channel said in its present hour, and what waits for a summary that is due at ``due_at``."""

    hour_at: datetime | None = None
    sent: int = 0
    held: int = 0
    held_since: datetime | None = None
    held_worst: Severity = Severity.INFO
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What a channel said about one subject: how bad, when, and whether the end is still to be told."""

    severity: Severity
    told_at: datetime
    open: bool = True


@dataclass(frozen=True, slots=True)
class Heard:
    """A notice, as far as this file cares. ``closes``: it ends what began; ``pages``: the channel keeps alerts open."""

    severity: Severity
    subject: str
    closes: bool
    pages: bool
    at: datetime


class Verdict(Enum):
    """What becomes of a notice: told now, waiting for a summary, or known already."""

    TELL = "tell"
    HOLD = "hold"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict and what is remembered."""

    verdict: Verdict
    tally: Tally
    known: Known | None


def decide(rules: Rules, tally: Tally, known: Known | None, heard: Heard, now: datetime) -> Decision:
    """Return what becomes of a notice."""
    if heard.closes and known is not None and known.open:
        return Decision(Verdict.TELL, tally, replace(known, open=False, told_at=now))
    if heard.closes and heard.pages:
        return Decision(Verdict.DROP, tally, known)  # nothing was opened
    due = _told_already(rules, known, heard, now)
    if due is not None:
        verdict = Verdict.HOLD if due > now else Verdict.DROP
        return Decision(verdict, _hold(rules, tally, heard, due) if due > now else tally, known)
    quiet = rules.quiet.until(now) if rules.quiet else None
    if quiet is not None and heard.severity is not Severity.CRITICAL:
        return Decision(Verdict.HOLD, _hold(rules, tally, heard, quiet), known)
    if tally.hour_at is None or now >= tally.hour_at + HOUR:
        tally = replace(tally, hour_at=now, sent=0)
    if tally.sent >= rules.max_per_hour:
        return Decision(Verdict.HOLD, _hold(rules, tally, heard, (tally.hour_at or now) + HOUR), known)
    told = Known(heard.severity, now, open=not heard.closes)
    return Decision(Verdict.TELL, replace(tally, sent=tally.sent + 1), told)


def _told_already(rules: Rules, known: Known | None, heard: Heard, now: datetime) -> datetime | None:
    """Return when what was said of the subject no longer covers this notice; ``now``: for good; None: it does not."""
    if known is None:
        return None
    worse = heard.severity.rank > known.severity.rank
    if known.open and heard.subject.startswith(INCIDENT):
        return None if worse and rules.escalations else now
    until = known.told_at + timedelta(seconds=rules.group_seconds)
    return until if until > now and not worse else None


def _hold(rules: Rules, tally: Tally, heard: Heard, due: datetime) -> Tally:
    if rules.quiet is not None:
        due = max(due, rules.quiet.until(due) or due)  # a summary wakes nobody
    worse = heard.severity.rank > tally.held_worst.rank
    return replace(
        tally,
        held=tally.held + 1,
        held_since=tally.held_since or heard.at,
        held_worst=heard.severity if worse or not tally.held else tally.held_worst,
        due_at=min(tally.due_at or due, due),
    )
