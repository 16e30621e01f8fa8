"""All generated rows, from a seed and the benign texts at hand: the one entry to the generator."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

from train.generator.attacks import attacks, split_attacks
from train.generator.documents import documents
from train.generator.encoded import encoded
from train.generator.hard_negatives import hard_negatives
from train.generator.plain import scraps, statements
from train.generator.sentences import Sentences
from train.generator.short_benign import short_benign
from train.generator.unmarked import unmarked
from train.row import Row

VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows of each part."""

    attacks: int = 9_000
    documents: int = 1_500
    hard_negatives: int = 10_000
    short_benign: int = 2_000
    encoded: int = 1_000
    split: int = 300
    unmarked: int = 5_000
    statements: int = 2_500
    scraps: int = 4_000

    def divided(self, by: int) -> "Counts":
        """Return the same mixture with fewer rows."""
        return Counts(**{part.name: getattr(self, part.name) // by for part in fields(self)})


def generate(
    seed: str, benign: Sequence[str], passages: Sequence[str], counts: Counts | None = None
) -> list[Row]:
    """Return the rows of every part; equal arguments give equal rows on every machine.

    Args:
        seed: Any text; each family draws from a stream of its own.
        benign: Harmless texts to put words into and attacks beside; may be empty, then only our own sentences serve.
        passages: Texts that ask nothing of an assistant, for documents and for what is ordinary in one; may be empty.
        counts: How many of each part; the full numbers by default.
    """
    wanted = counts or Counts()
    sentences, prose = Sentences(benign), Sentences(passages)
    return [
        *attacks(seed, sentences, wanted.attacks),
        *documents(seed, prose, wanted.documents),
        *hard_negatives(seed, sentences, wanted.hard_negatives),
        *short_benign(seed, wanted.short_benign),
        *encoded(seed, sentences, wanted.encoded),
        *split_attacks(seed, sentences, wanted.split),
        *unmarked(seed, wanted.unmarked),
        *statements(seed, prose, wanted.statements),
        *scraps(seed, prose, wanted.scraps),
    ]
