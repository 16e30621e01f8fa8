"""Attacks inside ordinary documents: before, after or between sentences."""

from random import Random
from typing import Final

from train.generator.distinct import distinct
from train.generator.dress import dress
from train.generator.grammar import grammar
from train.generator.sentences import Sentences
from train.row import EXTERNAL, Row

FAMILY: Final = "in_document"
_WHAT: Final = (
    "override",
    "override",
    "override",
    "extraction",
    "persona",
    "turns",
    "notes",
    "notes",
    "notes",
)
_LONGEST: Final = 1_500


def documents(seed: str, sentences: Sentences, count: int) -> list[Row]:
    """Return documents of up to 1,500 code points and one attack each."""
    chance = Random(f"{seed}/{FAMILY}")

    def make() -> Row:
        family = chance.choice(_WHAT)
        attack = grammar(family).expand(chance)
        if family != "turns":
            attack = dress(chance, attack)
        body = sentences.some(chance, chance.randint(2, 10))
        place = chance.choice((0, len(body), chance.randint(0, len(body))))
        room = max(_LONGEST - len(attack), 0)
        before, after = " ".join(body[:place])[:room], " ".join(body[place:])
        gap = chance.choice((" ", " ", "\n", "\n\n"))
        parts = (before, attack, after[: room - len(before)])
        return Row(gap.join(part for part in parts if part), 1, EXTERNAL, FAMILY, "en")

    return distinct(count, make)
