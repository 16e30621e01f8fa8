"""Requests to an assistant that carry no mark of an attack: in a document, a request is one.

Only the external head learns from them; to a user's assistant they are what it is for.
"""

from random import Random
from typing import Final

from train.generator.distinct import distinct
from train.generator.dress import dress
from train.generator.grammar import grammar
from train.row import EXTERNAL, Row

FAMILY: Final = "unmarked"


def unmarked(seed: str, count: int) -> list[Row]:
    """Return ``count`` requests and questions such as stand nowhere in a document that was written for people."""
    chance = Random(f"{seed}/{FAMILY}")
    return distinct(
        count, lambda: Row(dress(chance, grammar("requests").expand(chance)), 1, EXTERNAL, FAMILY, "en")
    )
