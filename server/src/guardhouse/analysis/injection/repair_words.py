"""Steps 13 and 14 of the normaliser: words spelt with digits, and words with their inner letters shuffled."""

import re
from typing import Final

from guardhouse.analysis.injection.findings import Findings
from guardhouse.analysis.injection.known_words import ATTACK_WORDS, FUNCTION_WORDS
from guardhouse.analysis.injection.offsets import Edit, Reading, edited

_TOKEN: Final = re.compile(r"(?<![A-Za-z0134578@$!])[A-Za-z]*[0134578@$!][A-Za-z0134578@$!]*")
_SIGNS: Final = re.compile(r"[0134578@$!]")
_LETTER: Final = re.compile(r"[A-Za-z]")
_NO_LEET: Final = re.compile(r"[A-Za-z]+[0-9]+!?|[0-9]+[A-Za-z]{1,4}!?|[A-Za-z]+!+")
_WORD: Final = re.compile(r"(?<![^\W\d_])[A-Za-z]{5,14}(?![^\W\d_])")
_LEET: Final = tuple(str.maketrans("0134578@$!", target) for target in ("oieastbasi", "oleastbasl"))
_PLAINLY_LEET: Final = 2  # words that are no names of things; from there on "t0" and "m3" are none either
_KNOWN: Final = FUNCTION_WORDS | ATTACK_WORDS


def without_leet(reading: Reading, masked: str, found: Findings) -> Reading:
    """Step 13: ``1gn0r3`` becomes ``ignore``; kept only if it gives the text words that it did not have."""
    if not _SIGNS.search(masked):
        return reading
    sure: list[Edit] = []
    unsure: list[Edit] = []
    gained = 0
    for m in _TOKEN.finditer(masked):
        if not _LETTER.search(m[0]):
            continue
        options = [m[0].translate(table) for table in _LEET]
        known = [option for option in options if option.lower() in _KNOWN]
        edit = (m.start(), m.end(), (known or options)[0])
        if not _NO_LEET.fullmatch(m[0]):
            gained += bool(known)
            sure.append(edit)
        elif known:
            unsure.append(edit)
    if not gained:
        return reading
    found.flags.add("leet")
    return edited(reading, sorted(sure + unsure) if len(sure) >= _PLAINLY_LEET else sure)


def _shape(word: str) -> tuple[str, str, str]:
    return word[0], "".join(sorted(word[1:-1])), word[-1]


_SHAPES: Final = {_shape(word): word for word in sorted(ATTACK_WORDS)}
_ENDS: Final = {(word[0], word[-1], len(word)) for word in ATTACK_WORDS}


def unscrambled(reading: Reading, masked: str, found: Findings) -> Reading:
    """Step 14: a word of 5 to 14 letters whose inner letters are those of an attack word in another order."""
    suspects = {word for word in set(_WORD.findall(masked.lower())) if _is_suspect(word)}
    edits = [
        (m.start(), m.end(), _SHAPES[_shape(m[0].lower())])
        for m in (_WORD.finditer(masked) if suspects else ())
        if m[0].lower() in suspects
    ]
    if edits:
        found.flags.add("scrambled")
    return edited(reading, edits)


def _is_suspect(word: str) -> bool:
    ends = (word[0], word[-1], len(word))
    return ends in _ENDS and word not in ATTACK_WORDS and _shape(word) in _SHAPES
