"""Harmless text in every disguise the normaliser reads: a disguise alone is no attack."""

from random import Random
from typing import Final

from train.generator.distinct import distinct
from train.generator.grammar import grammar, sentence_case
from train.generator.sentences import Sentences
from train.generator.transforms import TRANSFORMS
from train.row import USER, Row

FAMILY: Final = "encoded"
_LONGEST: Final = 400
_ASKS: Final = (
    "What does this say: {}", "decode {}", "I found this in an old file: {}", "{}", "{}", "{}", "id={}",
    "Can you read it? {}", "payload: {}", "{} is what the sensor sent", "Translate: {}", "my friend wrote {}",
)  # fmt: skip


def encoded(seed: str, sentences: Sentences, count: int) -> list[Row]:
    """Return ``count`` harmless texts, transformed; the transforms take turns, and ``detail`` names each row's."""
    chance = Random(f"{seed}/{FAMILY}")
    order = list(TRANSFORMS)
    turn = 0

    def make() -> Row:
        nonlocal turn
        turn += 1
        about = chance.random() < 0.3
        text = sentence_case(grammar("about").expand(chance)) if about else sentences.one(chance)
        name = order[turn % len(order)]
        hidden = TRANSFORMS[name](chance, text[:_LONGEST])
        return Row(chance.choice(_ASKS).replace("{}", hidden), 0, USER, FAMILY, "en", detail=name)

    return distinct(count, make)
