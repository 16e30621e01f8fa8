"""Ordinary sentences and passages that generated texts are put beside or into."""

import re
from collections.abc import Sequence
from random import Random
from typing import Final

from train.generator.grammar import grammar

_END: Final = re.compile(r"(?<=[.!?])\s+|\n+")
_SHORTEST, _LONGEST = 20, 220
_OWN = 0.5


class Sentences:
    """Draws ordinary sentences: half from the benign texts given, half from phrases of this project."""

    def __init__(self, benign: Sequence[str]) -> None:
        self.texts = [text for text in benign if text.strip()]
        self._cut: dict[int, list[str]] = {}

    def one(self, chance: Random) -> str:
        """Return one ordinary sentence."""
        if self.texts and chance.random() >= _OWN:
            found = self._of(chance.randrange(len(self.texts)))
            if found:
                return chance.choice(found)
        return grammar("ordinary").expand(chance)

    def some(self, chance: Random, count: int) -> list[str]:
        """Return ``count`` sentences; where a benign text has enough of them, neighbours in that text."""
        if self.texts and chance.random() >= _OWN:
            found = self._of(chance.randrange(len(self.texts)))
            if len(found) >= count:
                start = chance.randrange(len(found) - count + 1)
                return found[start : start + count]
        return [grammar("ordinary").expand(chance) for _ in range(count)]

    def text(self, chance: Random, longest: int) -> str:
        """Return the beginning of a benign text, or some of our own sentences."""
        if self.texts and chance.random() >= _OWN / 5:
            return chance.choice(self.texts)[:longest]
        return " ".join(self.some(chance, chance.randint(1, 4)))[:longest]

    def _of(self, number: int) -> list[str]:
        if number not in self._cut:
            pieces = _END.split(self.texts[number][:6_000])
            self._cut[number] = [p.strip() for p in pieces if _SHORTEST <= len(p.strip()) <= _LONGEST]
        return self._cut[number]
