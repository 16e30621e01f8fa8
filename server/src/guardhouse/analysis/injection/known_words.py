"""Small word lists: what makes a text a language, and what attacks are made of."""

import json
import re
from importlib.resources import files
from typing import Any, Final

_DATA: Final = files("guardhouse.analysis.injection") / "data"


def _read(name: str) -> Any:
    return json.loads((_DATA / name).read_text(encoding="utf-8"))


FUNCTION_WORDS: Final[frozenset[str]] = frozenset(
    word for words in _read("function_words.json").values() for word in words
)
ATTACK_WORDS: Final[frozenset[str]] = frozenset(_read("scrambled_words.json"))
CATEGORY_WORDS: Final[dict[str, frozenset[str]]] = {
    category: frozenset(words) for category, words in _read("category_words.json").items()
}
WORD: Final = re.compile(r"[^\W\d_]+")


_LETTERS_AT_LEAST: Final = 2
_KNOWN: Final = frozenset(word for word in FUNCTION_WORDS if len(word) >= _LETTERS_AT_LEAST) | ATTACK_WORDS


def known_share(text: str) -> tuple[float, int]:
    """Return which share of a text's words is known, and how many words it has.

    Known are the function words of 13 languages, from two letters on, and the words of attacks.
    """
    words = WORD.findall(text.lower())
    if not words:
        return 0.0, 0
    return sum(map(_KNOWN.__contains__, words)) / len(words), len(words)
