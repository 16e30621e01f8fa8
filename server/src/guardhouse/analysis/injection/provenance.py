"""Where the destinations of a tool call come from: the people of a conversation, or only a document it read.

A polite request inside a document carries no mark of an attack, so no text classifier can call it one. What can be
checked is whether the address that a tool call is about to write to was ever named by someone who may name it.
Source: data-flow control for agents (Debenedetti et al. 2025), reduced to what a log of the conversation shows.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, Final, Literal

from guardhouse.analysis.injection.normalise import normalise

Decision = Literal["allow", "review", "block"]
Why = Literal["tainted_argument", "unsupported_argument"]
MOST_DESTINATIONS: Final = 200  # of one call; a call with more is reviewed
_KINDS: Final[dict[str, re.Pattern[str]]] = {
    "email": re.compile(r"(?<![\w.+\-])[\w.+\-]{1,64}@(?:[A-Za-z0-9\-]{1,63}\.){1,8}[A-Za-z]{2,24}"),
    "url": re.compile(r"\bhttps?://([^\s/\"'<>?#:]{1,253})", re.IGNORECASE),
    "iban": re.compile(r"\b[A-Z]{2}[0-9]{2}(?:[ ]?[A-Z0-9]{2,4}){3,8}\b"),
    "phone": re.compile(r"(?<![\w+])\+?[0-9](?:[ ()\-]{0,2}[0-9]){7,14}(?![0-9])"),
    "path": re.compile(r"(?<![\w/.])(?:~|\.{1,2})?/[\w.\-]{1,100}(?:/[\w.\-]{1,100}){1,20}"),
    "amount": re.compile(
        r"(?<![\w.])(?:[0-9]{1,3}(?:[ ,'][0-9]{3}){1,4}|[0-9]{1,12})(?:\.[0-9]{1,2})?(?=\s?(?:€|\$|£|EUR|USD|GBP)\b)"
    ),
}
_NUMBERS: Final = frozenset({"iban", "phone", "amount"})
_SQUEEZE: Final = re.compile(r"[\s()\-,']")


@dataclass(frozen=True, slots=True)
class Tool:
    """What a policy says of a tool: whether it acts on the world, which arguments are destinations, what is allowed."""

    sensitive: bool = False
    destinations: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unfounded:
    """A destination that nobody with a right to it named; ``why`` is tainted_argument or unsupported_argument."""

    argument: str
    kind: str
    value: str
    why: Why


@dataclass(frozen=True, slots=True)
class Checked:
    """The outcome for one tool call."""

    decision: Decision
    findings: tuple[Unfounded, ...]


def check_call(
    arguments: Mapping[str, Any], tool: Tool, known: Sequence[str], seen: Sequence[str]
) -> Checked:
    """Check one call's destinations.

    Args:
        arguments: The call's arguments as decoded JSON.
        tool: The policy's word on this tool.
        known: :func:`readings` of the earlier texts of system, developer and user.
        seen: Readings of the earlier texts of tools and documents.
    """
    findings: list[Unfounded] = []
    named = (
        (path, kind, value)
        for path, text in _leaves(arguments)
        for kind, value in _destinations(path, text, tool)
    )
    for path, kind, value in islice(named, MOST_DESTINATIONS):
        if any(fnmatchcase(value.lower(), pattern.lower()) for pattern in tool.allow) or _is_in(
            kind, value, known
        ):
            continue
        why: Why = "tainted_argument" if _is_in(kind, value, seen) else "unsupported_argument"
        findings.append(Unfounded(path, kind, value, why))
    decision = _decision(findings, tool)
    unread = next(named, None) is not None
    return Checked("review" if unread and decision == "allow" else decision, tuple(findings))


def readings(text: str) -> list[str]:
    """Return what a text says, decoded too, in lower case."""
    return [view.reading.text.lower() for view in normalise(text, external=True).views]


def _decision(findings: Sequence[Unfounded], tool: Tool) -> Decision:
    if any(one.why == "tainted_argument" for one in findings):
        return "block" if tool.sensitive else "review"
    return "review" if findings and tool.sensitive else "allow"


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{number}]")
    elif isinstance(value, str):
        yield path, value
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, str(value)


def _destinations(path: str, text: str, tool: Tool) -> Iterator[tuple[str, str]]:
    found = False
    for kind, pattern in _KINDS.items():
        for match in pattern.finditer(text):
            found = True
            yield kind, match[1] if pattern.groups else match[0]
    named = re.sub(r"\[\d+\]", "", path)
    if not found and named in tool.destinations and text.strip():
        yield "named", text.strip()


def _is_in(kind: str, value: str, texts: Sequence[str]) -> bool:
    """Return whether a value stands in a text as a whole; numbers are compared without their spaces and marks."""
    if kind in _NUMBERS:
        wanted = _SQUEEZE.sub("", value.lower())
        pattern = re.compile(rf"(?<![0-9]){re.escape(wanted)}(?![0-9])")
        return any(pattern.search(_SQUEEZE.sub("", text)) for text in texts)
    pattern = re.compile(rf"(?<![\w.@+\-]){re.escape(value.lower())}(?![\w@\-]|\.\w)")
    return any(pattern.search(text) for text in texts)
