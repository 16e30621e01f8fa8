"""Which running agents a rule of an app is for, and which of them a given agent is.

Invariant: the same conditions always give the same key, whatever order they were written in.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Final

_CLAUSE: Final = re.compile(r"(<=|>=|==|!=|<|>)(\d{1,6}(?:\.\d{1,6}){0,3})")
_RELEASE: Final = re.compile(r"\d{1,6}(?:\.\d{1,6}){0,3}")
_PARTS: Final = 4
_HEX: Final = 8


@dataclass(frozen=True, slots=True)
class Target:
    """Conditions that all have to hold; None = any. Versions are ranges such as ``>=2.5,<3``."""

    installation: str | None = None
    instance: str | None = None
    agent_version: str | None = None
    guard_version: str | None = None
    environment: str | None = None
    service: str | None = None
    tag: str | None = None

    @property
    def conditions(self) -> dict[str, str]:
        """Return the conditions that are set, by name."""
        found = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in found if value is not None}


EVERYONE: Final = Target()


@dataclass(frozen=True, slots=True)
class Asker:
    """What is known of an agent that asks for rules; a condition on what is unknown does not hold for it."""

    installation: str | None = None
    instance: str | None = None
    agent_version: str | None = None
    guard_version: str | None = None
    environment: str | None = None
    service: str | None = None
    tags: frozenset[str] = frozenset()


def matches(target: Target, asker: Asker) -> bool:
    """Tell whether every condition of a target holds for an agent."""
    return (
        target.installation in (None, asker.installation)
        and target.instance in (None, asker.instance)
        and target.environment in (None, asker.environment)
        and target.service in (None, asker.service)
        and (target.tag is None or target.tag in asker.tags)
        and in_range(target.agent_version, asker.agent_version)
        and in_range(target.guard_version, asker.guard_version)
    )


def matched(targets: Iterable[Target], asker: Asker) -> tuple[Target, ...]:
    """Return the targets that an agent is one of, in the order of their keys; ``EVERYONE`` is left out."""
    found = {target for target in targets if target != EVERYONE and matches(target, asker)}
    return tuple(sorted(found, key=_text))


def target_hex(group: Sequence[Target]) -> str:
    """Return eight hexadecimal digits that stand for the targets an agent is one of."""
    text = "\n".join(sorted(_text(target) for target in group))
    return hashlib.sha256(text.encode()).hexdigest()[:_HEX]


def is_range(text: str) -> bool:
    """Tell whether a text is a range of versions: clauses such as ``>=2.5``, parted by commas."""
    return bool(text) and all(_CLAUSE.fullmatch(part.strip()) for part in text.split(","))


def in_range(wanted: str | None, version: str | None) -> bool:
    """Tell whether a version is in a range; what follows its release numbers does not count."""
    if wanted is None:
        return True
    release = _RELEASE.match(version or "")
    if release is None:
        return False
    return all(_holds(part.strip(), _numbers(release[0])) for part in wanted.split(","))


def _holds(clause: str, version: tuple[int, ...]) -> bool:
    found = _CLAUSE.fullmatch(clause)
    if found is None:
        return False
    bound = _numbers(found[2])
    return {
        "<": version < bound,
        "<=": version <= bound,
        ">": version > bound,
        ">=": version >= bound,
        "==": version == bound,
        "!=": version != bound,
    }[found[1]]


def _numbers(text: str) -> tuple[int, ...]:
    parts = [int(part) for part in text.split(".")]
    return (*parts, *[0] * (_PARTS - len(parts)))


def _text(target: Target) -> str:
    return json.dumps(target.conditions, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
