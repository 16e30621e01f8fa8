"""What an endpoint asked to hear: names and globs of kinds, checked once at registration, matched at fan-out."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from guardhouse.foundation.errors import ValidationFailed
from guardhouse.identity.refusals import ScopeMissing
from guardhouse.notices.kinds import KINDS
from guardhouse.webhooks.formats import LEGACY, STANDARD
from guardhouse.webhooks.legacy_bodies import KIND_OF, NAME_OF

_PATTERN: Final = re.compile(r"\*|[a-z_]+(\.[a-z_]+)*(\.\*)?")


def sendable_kinds() -> list[str]:
    """Return the kinds that leave the house, in order."""
    return sorted(kind for kind, model in KINDS.items() if not model.live_only)


def check_kinds(patterns: Sequence[str], scopes: frozenset[str] | None) -> None:
    """Insist that each pattern names a kind that can be delivered, and that the caller may read it.

    ``scopes=None``: the endpoint hears of its own key only, and of that it may hear everything.

    Raises:
        ValidationFailed: a pattern names no kind, or live-only ones alone; the kinds are listed.
        ScopeMissing: a pattern names only kinds that the caller may not read.
    """
    wrong = [pattern for pattern in patterns if not _named(pattern)]
    if wrong:
        kinds = sendable_kinds()
        raise ValidationFailed(
            f"{wrong[0][:100]!r} is no kind of notice that is delivered.",
            errors=[
                {
                    "pointer": f"/kinds/{list(patterns).index(name)}",
                    "code": "live_only" if name in KINDS else "unknown",
                    "detail": f"{name[:100]!r} is none of {', '.join(kinds)}",
                }
                for name in wrong
            ],
            kinds=kinds,
        )
    for pattern in patterns if scopes is not None else ():
        needed = {KINDS[kind].scope for kind in _named(pattern) if kind in KINDS}
        if needed and needed.isdisjoint(scopes or ()):
            scope = min(needed)
            raise ScopeMissing(f"{pattern} needs the scope {scope}.", required_scope=scope)


@lru_cache(maxsize=4096)
def format_for(patterns: tuple[str, ...], kind: str) -> str | None:
    """Return in which format an endpoint with these patterns hears of a kind; None: not at all."""
    if NAME_OF.get(kind) in patterns:
        return LEGACY
    if kind in KINDS and KINDS[kind].by_name_only:
        return None
    return STANDARD if any(fnmatchcase(kind, pattern) for pattern in patterns) else None


def _named(pattern: str) -> list[str]:
    if pattern in KIND_OF:
        return [KIND_OF[pattern]]
    if not _PATTERN.fullmatch(pattern):
        return []
    return [kind for kind in sendable_kinds() if fnmatchcase(kind, pattern)]
