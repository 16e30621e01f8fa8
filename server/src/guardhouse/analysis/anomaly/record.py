"""Records as lines: sorted ``path=value`` parts, without times, numbers as ``<n>``, identifiers without digits.

What is a time or an identifier is learned from the warm-up and then fixed.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from guardhouse.analysis.anomaly.mask import Traced
from guardhouse.analysis.anomaly.normalise import LONGEST, to_lines

MOST_LEAVES: Final = 64
TIME_KEYS: Final = frozenset(("timestamp", "time", "ts", "@timestamp", "date"))
_TIME_SHARE: Final = 0.95
_IDENTIFIER_SHARE: Final = 0.5
_LARGEST: Final = 1e308
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?")
_DIGITS: Final = re.compile(r"\d+")
_SPACE: Final = str.maketrans("\n\r|", "  /")

Leaf = str | float | bool | None


@dataclass(frozen=True, slots=True)
class Rules:
    """What the warm-up taught about the fields of a stream's records."""

    times: frozenset[str] = frozenset()
    identifiers: frozenset[str] = frozenset()

    def to_state(self) -> dict[str, Any]:
        """The rules for ``snapshot``."""
        return {"times": sorted(self.times), "identifiers": sorted(self.identifiers)}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The rules that ``to_state`` described."""
        return cls(frozenset(state["times"]), frozenset(state["identifiers"]))


def leaves(body: Mapping[str, Any]) -> list[tuple[str, Leaf]]:
    """The leaves of a record as (path, value), sorted by path; elements of a list share ``path[]``."""
    found = list(_walk("", body))
    found.sort(key=lambda leaf: leaf[0])
    return found


def numbers(found: Sequence[tuple[str, Leaf]]) -> dict[str, float]:
    """The numeric leaves; of a path that occurs more than once the first."""
    taken: dict[str, float] = {}
    for path, value in found:
        if isinstance(value, int | float) and not isinstance(value, bool) and path not in taken:
            number = min(max(value, -_LARGEST), _LARGEST)
            if math.isfinite(number):
                taken[path] = float(number)
    return taken


def words(found: Sequence[tuple[str, Leaf]]) -> dict[str, str]:
    """The string leaves; of a path that occurs more than once the first."""
    taken: dict[str, str] = {}
    for path, value in found:
        if isinstance(value, str):
            taken.setdefault(path, value)
    return taken


def learn_rules(records: Sequence[Sequence[tuple[str, Leaf]]]) -> Rules:
    """See which string fields hold times and which hold identifiers."""
    totals: Counter[str] = Counter()
    as_time: Counter[str] = Counter()
    distinct: dict[str, set[str]] = {}
    for found in records:
        for path, value in words(found).items():
            totals[path] += 1
            as_time[path] += _TIME.fullmatch(value) is not None
            distinct.setdefault(path, set()).add(value)
    times = {path for path, total in totals.items() if as_time[path] >= _TIME_SHARE * total}
    identifiers = {
        path
        for path, total in totals.items()
        if total > 1 and len(distinct[path]) >= _IDENTIFIER_SHARE * total and path not in times
    }
    return Rules(frozenset(times), frozenset(identifiers))


def record_line(found: Sequence[tuple[str, Leaf]], rules: Rules) -> bytes:
    """The masked line of a record."""
    parts = [part for path, value in found[:MOST_LEAVES] if (part := _part(path, value, rules)) is not None]
    if len(found) > MOST_LEAVES:
        parts.append(f"+{len(found) - MOST_LEAVES}")
    return to_lines(["|".join(parts)])[0]


def trace_record(found: Sequence[tuple[str, Leaf]], rules: Rules) -> Traced:
    """The record as a line before and after masking, and which bytes of one stand for which of the other."""
    raw, begins, ends = b"", [], []
    masked = b""
    for path, value in found[:MOST_LEAVES]:
        part = _part(path, value, rules)
        plain, shown = to_lines([f"{path}={_plain(value)}", part or ""])
        if part is None:
            continue
        joint = b"|" if masked else b""
        places = _aligned(plain, shown, len(to_lines([f"{path}="])[0]))
        at = len(raw) + len(joint)
        begins += [len(raw)] * len(joint) + [at + begin for begin, _ in places]
        ends += [at] * len(joint) + [at + end for _, end in places]
        raw, masked = raw + joint + plain, masked + joint + shown
    if len(found) > MOST_LEAVES:
        rest = b"|+%d" % (len(found) - MOST_LEAVES)
        begins += range(len(raw), len(raw) + len(rest))
        ends += range(len(raw) + 1, len(raw) + len(rest) + 1)
        raw, masked = raw + rest, masked + rest
    if len(masked) > LONGEST:
        masked = record_line(found, rules)
        rest_of_line = [len(raw)] * (len(masked) - LONGEST)
        begins, ends = begins[:LONGEST] + rest_of_line, ends[:LONGEST] + rest_of_line
    return Traced(raw, masked, np.array(begins, np.int64), np.array(ends, np.int64))


def _walk(path: str, value: Any) -> Iterator[tuple[str, Leaf]]:
    match value:
        case Mapping():
            for key, inner in value.items():
                yield from _walk(f"{path}.{key}" if path else str(key), inner)
        case list() | tuple():
            for inner in value:
                yield from _walk(f"{path}[]", inner)
        case None | bool() | int() | float() | str():
            yield path, value
        case _:
            yield path, str(value)


def _part(path: str, value: Leaf, rules: Rules) -> str | None:
    """``path=value`` as it is scored, None where the field is a time."""
    if path.rpartition(".")[2].lower() in TIME_KEYS or (path in rules.times and isinstance(value, str)):
        return None
    if isinstance(value, str):
        shown = _DIGITS.sub("#", value) if path in rules.identifiers else value
        return f"{path}={shown.translate(_SPACE)}"
    if value is None or isinstance(value, bool):
        return f"{path}={_plain(value)}"
    return f"{path}=<n>"


def _plain(value: Leaf) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return value.translate(_SPACE) if isinstance(value, str) else repr(value)


def _aligned(plain: bytes, shown: bytes, head: int) -> list[tuple[int, int]]:
    """Of each byte of ``shown`` the stretch of ``plain``: equal heads, then digit groups as ``#`` or all as one."""
    places = [(i, i + 1) for i in range(head)]
    if shown[head:] == b"<n>":
        return places + [(head, len(plain))] * 3
    at = head
    for byte in shown[head:]:
        end = at + 1
        if byte == ord("#") and plain[at : at + 1].isdigit():
            while plain[end : end + 1].isdigit():
                end += 1
        places.append((at, end))
        at = end
    return places
