"""Greetings, thanks and questions of one line in 13 languages: what people type most and data sets hold least."""

from random import Random
from typing import Final

from train.generator.distinct import distinct
from train.generator.dress import typos
from train.generator.grammar import languages
from train.row import USER, Row

FAMILY: Final = "short"
LONGEST: Final = 40


def short_benign(seed: str, count: int) -> list[Row]:
    """Return ``count`` harmless texts of at most 40 code points, the languages about equally often."""
    chance = Random(f"{seed}/{FAMILY}")
    order = list(languages())

    def make() -> Row:
        lang = chance.choice(order)
        text = ""
        while not 0 < len(text) <= LONGEST:
            text = _line(chance, lang)
        return Row(text, 0, USER, FAMILY, lang)

    return distinct(count, make)


def _line(chance: Random, lang: str) -> str:
    text = languages()[lang].expand(chance, "short")
    way = chance.randrange(8)
    if way == 0:
        return text.lower()
    if way == 1:
        return text.rstrip("!.?。！？")  # noqa: RUF001 - the marks of Chinese and Japanese
    if way == 2:
        return typos(chance, text)
    if way == 3:
        return f"{text} {languages()[lang].expand(chance, 'short')}"
    if way == 4:
        return text + chance.choice(("!", "!!", " :)", "...", " 🙂", "?"))
    return text[:1].upper() + text[1:]
