"""Harmless texts: trigger words in ordinary text, questions about them, everyday requests, other languages."""

from random import Random
from typing import Final

from train.generator.attacks import CARRIED
from train.generator.distinct import distinct
from train.generator.dress import dress
from train.generator.grammar import grammar, languages
from train.generator.sentences import Sentences
from train.row import USER, Row

TRIGGERS, ABOUT, EVERYDAY, LANGUAGES = "triggers", "about", "everyday", "harmless_languages"
SHARES: Final = {TRIGGERS: 0.28, ABOUT: 0.42, EVERYDAY: 0.18, LANGUAGES: 0.12}
_LONGEST: Final = 600
_ENDS: Final = 0.4


def hard_negatives(seed: str, sentences: Sentences, count: int) -> list[Row]:
    """Return ``count`` harmless texts of the four families of ``SHARES``."""
    sizes = {family: round(share * count) for family, share in SHARES.items()}
    inserting = Random(f"{seed}/{TRIGGERS}")
    asking = Random(f"{seed}/{ABOUT}")
    requesting = Random(f"{seed}/{EVERYDAY}")
    speaking = Random(f"{seed}/{LANGUAGES}")
    return [
        *distinct(
            sizes[TRIGGERS],
            lambda: Row(
                with_triggers(inserting, sentences.text(inserting, _LONGEST)), 0, USER, TRIGGERS, "en"
            ),
        ),
        *distinct(sizes[ABOUT], lambda: Row(_about(asking, sentences), 0, USER, ABOUT, "en")),
        *distinct(sizes[EVERYDAY], lambda: _everyday(requesting)),
        *distinct(sizes[LANGUAGES], lambda: _in_languages(speaking)),
    ]


def with_triggers(chance: Random, text: str) -> str:
    """Put one to three trigger words at random places between the words of a text, or a harmless line at an end."""
    phrases = grammar("triggers")
    if chance.random() < _ENDS:
        tail = chance.random() < 0.5
        return (
            f"{text} {phrases.expand(chance, 'tail')}" if tail else f"{phrases.expand(chance, 'head')} {text}"
        )
    return with_words(chance, text)


def with_words(chance: Random, text: str) -> str:
    """Put one to three trigger words at random places between the words of a text."""
    words = text.split(" ")
    for _ in range(chance.randint(1, 3)):
        words.insert(chance.randint(0, len(words)), grammar("triggers").expand(chance, "phrase"))
    return " ".join(words)


def _about(chance: Random, sentences: Sentences) -> str:
    text = dress(chance, grammar("about").expand(chance))
    return f"{sentences.one(chance)} {text}" if chance.random() < CARRIED else text


def _everyday(chance: Random) -> Row:
    return Row(dress(chance, grammar("requests").expand(chance, EVERYDAY)), 0, USER, EVERYDAY, "en")


def _in_languages(chance: Random) -> Row:
    lang = chance.choice([lang for lang, phrases in languages().items() if "harmless" in phrases.lists])
    return Row(dress(chance, languages()[lang].expand(chance, "harmless")), 0, USER, LANGUAGES, lang)
