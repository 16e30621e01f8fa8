"""Merging of texts that say mostly the same words in the same order.

Containment of word shingles: Broder, On the resemblance and containment of documents, 1997.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from train.row import Row

WORDS: Final = 5
CONTAINMENT: Final = 0.4
_WORD: Final = re.compile(r"\w+")


def shingles(text: str) -> frozenset[str]:
    """Return the runs of five words of a text, lower-case; a shorter text is one run of what it has."""
    words = _WORD.findall(text.lower())
    if len(words) < WORDS:
        return frozenset((" ".join(words),)) if words else frozenset()
    return frozenset(" ".join(words[n : n + WORDS]) for n in range(len(words) - WORDS + 1))


def merged(rows: Sequence[Row]) -> list[Row]:
    """Keep a row unless it shares more than 0.4 of the shorter one's shingles with a longer row that was kept.

    Not single linkage: a chain of small changes would melt a hundred different texts into one.
    """
    sets = [shingles(row.text) for row in rows]
    near: dict[int, set[int]] = defaultdict(set)
    for first, second in overlapping(sets):
        near[first].add(second)
        near[second].add(first)
    kept: set[int] = set()
    for number in sorted(range(len(rows)), key=lambda n: (-len(rows[n].text), n)):
        if not near[number] & kept:
            kept.add(number)
    return [rows[number] for number in sorted(kept)]


def overlapping(sets: Sequence[frozenset[str]]) -> list[tuple[int, int]]:
    """Return the pairs (first < second) of shingle sets of which one holds more than 0.4 of the smaller one."""
    holders: dict[str, list[int]] = defaultdict(list)
    pairs: list[tuple[int, int]] = []
    for number, found in enumerate(sets):
        shared = Counter(other for shingle in found for other in holders[shingle])
        pairs += [
            (other, number)
            for other, count in sorted(shared.items())
            if count > CONTAINMENT * min(len(found), len(sets[other]))
        ]
        for shingle in found:
            holders[shingle].append(number)
    return pairs
