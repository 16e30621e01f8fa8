"""Canary tokens: marks planted in prompts and documents that no honest answer contains, in any reading of it."""

import re
from collections.abc import Iterable
from typing import Final

from guardhouse.analysis.injection.normalise import View

PREFIX: Final = "ghc_"
LENGTH: Final = 20
_TOKEN: Final = re.compile(rf"{PREFIX}([a-z2-7]{{{LENGTH}}})(?![a-z2-7])", re.IGNORECASE)


def tokens(views: Iterable[View]) -> list[tuple[str, tuple[int, int]]]:
    """Return every token-shaped string in lower case with its span in the text as sent; the caller knows its own."""
    return [
        (found[0].lower(), view.reading.span(*found.span()))
        for view in views
        for found in _TOKEN.finditer(view.reading.text)
    ]
