"""When time alone makes the next revision of an app's rules: one begins, one ends, or bans are to be renewed."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from guardhouse.analysis.abuse.compile_rules import BAN_SECONDS, AppRule

RENEWAL: Final = timedelta(seconds=1800)
_BAN: Final = timedelta(seconds=BAN_SECONDS)


def next_due(rules: Iterable[AppRule], instant: datetime) -> datetime | None:
    """Return when the revision made at an instant has to be followed by another; None = not by time.

    Agents lift a ban after ``BAN_SECONDS``; one that outlives this is told to them again in half that time.
    """
    found: list[datetime] = []
    for rule in rules:
        if not rule.enabled:
            continue
        ends = rule.expires_at
        found += [moment for moment in (rule.starts_at, ends) if moment is not None and moment > instant]
        outlives = ends is None or ends > instant + _BAN
        if rule.kind == "ban_net" and rule.holds_at(instant) and outlives:
            found.append(instant + RENEWAL)
    return min(found, default=None)
