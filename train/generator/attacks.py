"""Attacks by family: overrides, extraction, personas, games of guards and secrets, fake turns, notes, 12 languages.

Every family has its own seed, so one can be left out without moving the others.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from train.generator.distinct import distinct
from train.generator.dress import dress
from train.generator.grammar import grammar, languages
from train.generator.sentences import Sentences
from train.row import EXTERNAL, USER, Row

SHARES: Final = {
    "override": 0.32, "extraction": 0.13, "persona": 0.17, "games": 0.10, "turns": 0.10, "notes": 0.09,
    "languages": 0.09,
}  # fmt: skip
CARRIED: Final = 0.3  # share of attacks with an ordinary sentence before them
SPLIT: Final = "split"
_TURNS: Final = (("", ""), ("user: ", "user: "), ("Human: ", "Human: "), ("1. ", "2. "), ("- ", "- "))


def attacks(seed: str, sentences: Sentences, count: int) -> list[Row]:
    """Return ``count`` attacks of the families of ``SHARES``, each about as often as its share says."""
    rows: list[Row] = []
    for family, share in SHARES.items():
        chance = Random(f"{seed}/attack/{family}")
        make = _in_languages if family == "languages" else _in_english(family)
        rows += distinct(round(share * count), lambda make=make, chance=chance: make(chance, sentences))  # type: ignore[misc] # bound now, not at the call
    return rows


def split_attacks(seed: str, sentences: Sentences, count: int) -> list[Row]:
    """Return attacks spread over two or three turns, as the engine reads them when it joins messages."""
    chance = Random(f"{seed}/attack/{SPLIT}")

    def make() -> Row:
        first, second = chance.choice(_TURNS)
        text = grammar(chance.choice(("override", "extraction"))).expand(chance)
        words = text.split(" ")
        cut = chance.randint(1, max(1, len(words) - 1))
        turns = [" ".join(words[:cut]), " ".join(words[cut:])]
        if chance.random() < 0.5:
            turns.insert(1, sentences.one(chance))
        joined = "\n".join((first if n == 0 else second) + turn for n, turn in enumerate(turns))
        return Row(joined, 1, USER, SPLIT, "en")

    return distinct(count, make)


def _in_english(family: str) -> Callable[[Random, Sentences], Row]:
    def make(chance: Random, sentences: Sentences) -> Row:
        text = _dressed(chance, family)
        channel = EXTERNAL if family == "notes" else USER
        return Row(_carried(chance, sentences, text), 1, channel, family, "en")

    return make


def _dressed(chance: Random, family: str) -> str:
    text = grammar(family).expand(chance)
    return text if family == "turns" else dress(chance, text)


def _in_languages(chance: Random, sentences: Sentences) -> Row:
    lang = chance.choice([lang for lang, phrases in languages().items() if "attack" in phrases.lists])
    text = dress(chance, languages()[lang].expand(chance, "attack"))
    return Row(_carried(chance, sentences, text), 1, USER, "languages", lang)


def _carried(chance: Random, sentences: Sentences, text: str) -> str:
    if chance.random() >= CARRIED:
        return text
    return sentences.one(chance) + chance.choice((" ", " ", "\n", "\n\n", " - ", " ... ")) + text
