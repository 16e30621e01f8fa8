"""Phrases of a tenant's lists, found word by word in a normalised reading: case, spacing and marks between are free.

What of an allowed phrase is found is blanked out before anything is scored, so that the rest of the text is judged as
if the phrase were not there: it excuses itself and nothing beside it.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from guardhouse.analysis.injection.lowered import lowered
from guardhouse.analysis.injection.normalise import normalise
from guardhouse.analysis.injection.offsets import Reading

# Letters of scripts that are written without spaces are words of their own.
_NO_SPACES: Final = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD: Final = re.compile(f"[{_NO_SPACES}]|(?:(?![{_NO_SPACES}])[^\\W_])+")


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase by the id of its entry; ``channel`` None speaks for both."""

    id: str
    text: str
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Where in a reading a phrase stands, from its first word to the end of its last."""

    phrase: Phrase
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Phrases:
    """Phrases by their first word, each with all its words."""

    by_first: Mapping[str, list[tuple[tuple[str, ...], Phrase]]] = field(default_factory=dict)


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a phrase as readings are compared with them; empty where it has none."""
    base = normalise(text, external=False).views[0].reading.text
    return tuple(_WORD.findall(lowered(base)))


def compile_phrases(phrases: Iterable[Phrase]) -> Phrases:
    """Index phrases; one without words is left out."""
    by_first: dict[str, list[tuple[tuple[str, ...], Phrase]]] = defaultdict(list)
    for phrase in phrases:
        words = words_of(phrase.text)
        if words:
            by_first[words[0]].append((words, phrase))
    for longest_first in by_first.values():
        longest_first.sort(key=lambda one: -len(one[0]))
    return Phrases(dict(by_first))


def find(phrases: Phrases, text: str, channel: str) -> list[Found]:
    """Return the phrases that stand in a reading, from left to right, none inside another."""
    if not phrases.by_first:
        return []
    spans = [match.span() for match in _WORD.finditer(lowered(text))]
    lower = lowered(text)
    words = [lower[start:end] for start, end in spans]
    found: list[Found] = []
    place = 0
    while place < len(words):
        taken = next(
            (
                (len(wanted), phrase)
                for wanted, phrase in phrases.by_first.get(words[place], ())
                if phrase.channel in (None, channel) and tuple(words[place : place + len(wanted)]) == wanted
            ),
            None,
        )
        if taken is None:
            place += 1
            continue
        count, phrase = taken
        found.append(Found(phrase, spans[place][0], spans[place + count - 1][1]))
        place += count
    return found


def blanked(reading: Reading, found: Iterable[Found]) -> Reading:
    """Turn stretches of a reading, which are in order, into spaces: every other code point keeps its place."""
    pieces: list[str] = []
    done = 0
    for one in found:
        pieces += (reading.text[done : one.start], " " * (one.end - one.start))
        done = one.end
    return replace(reading, text="".join([*pieces, reading.text[done:]]))
