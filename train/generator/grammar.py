"""Phrases as data: lists of templates whose ``{slots}`` are filled from other lists, at random and from a seed."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Final

PHRASES: Final = Path(__file__).with_name("phrases")
_PART: Final = re.compile(r"\{\{|\}\}|\{(\w+)\}")
_BLANKS: Final = re.compile(r"[ \t]{2,}")
_SENTENCE: Final = re.compile(r"(^|[.!?] |\n)([a-zà-ÿа-яёčćđšžğışçöü])")


class BadPhraseError(ValueError):
    """A template names a slot that no list fills; says which."""


class Grammar:
    """Lists of templates by name. ``{{`` and ``}}`` stand for braces."""

    def __init__(self, lists: Mapping[str, Sequence[str]]) -> None:
        self.lists = lists
        for name, templates in lists.items():
            for template in templates:
                for slot in _PART.findall(template):
                    if slot and slot not in lists:
                        raise BadPhraseError(f"{name}: {template!r} needs a list {slot!r}")

    def expand(self, chance: Random, name: str = "start") -> str:
        """Return one text of the list ``name`` with every slot filled."""
        return _BLANKS.sub(" ", self._fill(chance, chance.choice(self.lists[name]))).strip()

    def _fill(self, chance: Random, template: str) -> str:
        def piece(found: re.Match[str]) -> str:
            slot = found.group(1)
            return self._fill(chance, chance.choice(self.lists[slot])) if slot else found.group()[0]

        return _PART.sub(piece, template)


@cache
def grammar(name: str) -> Grammar:
    """Read ``phrases/<name>.json`` together with the lists that all files share."""
    return Grammar(_lists("common") | _lists(name))


@cache
def languages() -> Mapping[str, Grammar]:
    """Read the phrases of each language; English has only short texts there and shares the common lists."""
    found: dict[str, dict[str, list[str]]] = json.loads((PHRASES / "languages.json").read_text("utf-8"))
    return {
        lang: Grammar((_lists("common") if lang == "en" else {}) | lists) for lang, lists in found.items()
    }


def _lists(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads((PHRASES / f"{name}.json").read_text("utf-8"))
    return found


def sentence_case(text: str) -> str:
    """Write the first letter of each sentence in upper case; code stays as it is."""
    if "```" in text or "import " in text:
        return text
    return _SENTENCE.sub(lambda found: found.group(1) + found.group(2).upper(), text)
