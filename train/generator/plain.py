"""Ordinary text with nothing to look at: sentences, and the cells, names and scraps that documents are full of."""

from random import Random
from typing import Final

from train.generator.distinct import distinct
from train.generator.dress import dress
from train.generator.grammar import grammar
from train.generator.sentences import Sentences
from train.row import EXTERNAL, USER, Row

STATEMENTS, SCRAPS = "statements", "scraps"
_LONGEST_SCRAP: Final = 6  # words


def statements(seed: str, sentences: Sentences, count: int) -> list[Row]:
    """Return sentences that state, ask or advise among people, in every way people write them."""
    chance = Random(f"{seed}/{STATEMENTS}")

    def make() -> Row:
        own = chance.random() < 0.7
        text = grammar("ordinary").expand(chance) if own else sentences.one(chance)
        return Row(dress(chance, text), 0, USER, STATEMENTS, "en")

    return distinct(count, make)


def scraps(seed: str, sentences: Sentences, count: int) -> list[Row]:
    """Return one to six words in a row out of ordinary text, and single cells of tables."""
    chance = Random(f"{seed}/{SCRAPS}")

    def make() -> Row:
        if chance.random() < 0.2:
            text = chance.choice((str.title, str.lower, str.upper))(
                grammar("ordinary").expand(chance, "cell")
            )
        else:
            words = sentences.text(chance, 2_000).split()
            start = chance.randrange(len(words)) if words else 0
            text = " ".join(words[start : start + chance.randint(1, _LONGEST_SCRAP)])
        return Row(text or "-", 0, EXTERNAL, SCRAPS, "en")

    return distinct(count, make)
