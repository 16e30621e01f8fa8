"""Which texts each head learns from: the sets' rows and the generator's, cut and labelled for its channel."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Final

from guardhouse.analysis.injection.normalise import normalise
from guardhouse.analysis.injection.windows import external_windows
from train.generator.hard_negatives import with_words
from train.generator.plain import SCRAPS, STATEMENTS
from train.generator.unmarked import FAMILY as UNMARKED
from train.read_sets import BIPIA, BIPIA_RAW, IN_THE_WILD
from train.row import EXTERNAL, Row

LONGEST: Final = 3_000  # code points of a training text
_MOST_ATTACKS, _MARKED = 7_000, 3_000
_RAW_TIMES: Final = 12
_WILD_CUT, _LINE_CUT = 400, 300
_CONTEXT_WINDOWS, _INNER_WINDOWS = 12, 4
_TRIGGERED_STATEMENTS: Final = 1_500
_LONG_DOCUMENT: Final = 6  # windows; its first and last may be the request around it
_GENERATED: Final = "generator"


@dataclass(frozen=True, slots=True)
class Lesson:
    """A text as a head sees it, normalised and cut, and its label."""

    text: str
    label: int


def for_user(rows: Iterable[Row]) -> list[Lesson]:
    """Return what the user head learns: whole texts; a harmless text counts in each of its readings."""
    lessons: list[Lesson] = []
    for row in rows:
        if row.family.startswith(BIPIA) or row.family in {UNMARKED, SCRAPS}:
            continue
        found = readings(row.text[:LONGEST])
        lessons += [Lesson(text[:LONGEST], row.label) for text in (found[:1] if row.label else found)]
    return lessons


@lru_cache(maxsize=100_000)
def readings(text: str, *, external: bool = False) -> tuple[str, ...]:
    """Return the readings of a text, the base first; remembered, because every fold asks for the same ones."""
    return tuple(view.reading.text for view in normalise(text, external=external).views)


def for_external(rows: Sequence[Row], seed: str) -> list[Lesson]:
    """Return what the external head learns: windows of ordinary documents against anything that asks or orders."""
    chance = Random(f"{seed}/external")
    return [Lesson(text, 1) for text in _demands(rows, chance)] + [
        Lesson(text, 0) for text in _ordinary(rows, chance)
    ]


def passages(rows: Iterable[Row]) -> list[str]:
    """Return what asks nothing of an assistant among harmless rows: clean documents, and the middle of others."""
    harmless = [row for row in rows if not row.label and row.channel == EXTERNAL and row.source != _GENERATED]
    texts = [row.text if row.family.startswith(BIPIA) else inner_text(row.text) for row in harmless]
    return [text for text in texts if text]


def inner_text(text: str) -> str:
    """Return the longest line of a text without its first and last window, which may belong to a request around it."""
    line = max(text.split("\n"), key=len)
    windows = sorted({w for w in external_windows(line) if line[w[0] : w[1]].strip()})
    if len(windows) < _LONG_DOCUMENT:
        return ""
    return line[windows[0][1] : max(start for start, _ in windows)].strip()


def _demands(rows: Sequence[Row], chance: Random) -> list[str]:
    generated = [
        row for row in rows if row.source == _GENERATED and row.label and row.family != "in_document"
    ]
    marked = [row.text for row in generated if row.family in {"notes", "turns"}]
    plain = [row.text for row in generated if row.family not in {"notes", "turns", UNMARKED}]
    demands = _sample(chance, marked, _MARKED)
    demands += _sample(chance, plain, _MOST_ATTACKS - len(demands))
    demands += [row.text for row in generated if row.family == UNMARKED]
    for row in rows:
        if row.family == BIPIA_RAW:
            demands += [row.text] * _RAW_TIMES
        elif row.family == IN_THE_WILD:
            demands.append(row.text[:_WILD_CUT])
        elif row.detail in {"seed", "GPTeacher"}:
            demands.append(row.text.split("\n", 1)[0][:_LINE_CUT])
    return [_read(text) for text in demands]


def _ordinary(rows: Sequence[Row], chance: Random) -> list[str]:
    found: list[str] = []
    for row in rows:
        if row.label:
            continue
        if row.family in {SCRAPS, STATEMENTS}:
            found.append(_read(row.text))
        elif row.family.startswith(BIPIA):
            found += _sample(chance, _windows(row.text), _CONTEXT_WINDOWS)
        elif row.channel == EXTERNAL and row.source != _GENERATED:
            found += _sample(chance, _windows(inner_text(row.text)), _INNER_WINDOWS)
    statements = [row.text for row in rows if row.family == STATEMENTS]
    return found + [
        _read(with_words(chance, text)) for text in _sample(chance, statements, _TRIGGERED_STATEMENTS)
    ]


def _windows(text: str) -> list[str]:
    view = readings(text, external=True)[0]
    return [view[start:end] for start, end in external_windows(view)] if view.strip() else []


def _read(text: str) -> str:
    return readings(text[:LONGEST])[0]


def _sample(chance: Random, texts: Sequence[str], most: int) -> list[str]:
    return list(texts) if len(texts) <= most else chance.sample(list(texts), most)
