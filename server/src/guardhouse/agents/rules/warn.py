"""What whoever changes the rules of an app should know beforehand; none of it is refused."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from guardhouse.agents.rules.store import Revision, StoredRule

_REPLACING: Final = frozenset(
    {"block_country", "allow_countries", "block_cloud", "block_user_agent", "limit_global", "limit_endpoint"}
)
WARNINGS: Final = {
    "replaces_app_setting": "The app's own setting is replaced: the project has no baseline that says what it is.",
    "not_revocable": "A pattern stays in an app until it restarts, whatever becomes of this rule.",
    "lifts_app_bans": "Apps lift the bans of these addresses that they decided themselves, too.",
    "matches_no_instance": "No process that is known is one of the target.",
    "not_served": "A document holds 1,000 networks at most: this ban is not among them.",
}


@dataclass(frozen=True, slots=True)
class Warned:
    """One warning about one rule."""

    code: str
    rule_id: UUID
    detail: str


def warnings_of(rules: Iterable[StoredRule], revision: Revision) -> list[Warned]:
    """Return the warnings that rules carry whoever they reach."""
    return [
        warned(stored, code)
        for stored in rules
        for code, carried in (
            ("replaces_app_setting", stored.rule.kind in _REPLACING and not revision.baseline),
            ("not_revocable", stored.rule.kind == "block_pattern"),
            ("lifts_app_bans", stored.rule.kind in ("allow_net", "release_net")),
        )
        if carried
    ]


def warned(stored: StoredRule, code: str) -> Warned:
    """Return one warning about a rule."""
    return Warned(code, stored.id, WARNINGS[code])
