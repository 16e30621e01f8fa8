"""Step 7 of the normaliser: letters of other alphabets that stand in for Latin ones (source: UTS #39, confusables).

A word that mixes ASCII letters with look-alikes is nobody's language. A word of look-alikes alone may be Greek or
Russian, so it is mapped only where at least half of the text's letters are Latin.
"""

import json
import re
from importlib.resources import files
from typing import Final

from guardhouse.analysis.injection.findings import Findings
from guardhouse.analysis.injection.offsets import Edit, Reading, edited

_PAIRS: Final[dict[str, str]] = json.loads(
    (files("guardhouse.analysis.injection") / "data" / "lookalikes.json").read_text(encoding="utf-8")
)
_MAP: Final = str.maketrans(_PAIRS)
_WORD: Final = re.compile(r"[^\W\d_]+")


def latin(reading: Reading, found: Findings) -> Reading:
    """Map look-alikes to the Latin letters they imitate, word by word."""
    text = reading.text
    if text.isascii() or not _PAIRS.keys() & set(text):
        return reading
    letters = [c for c in text if c.isalpha()]
    mostly_latin = 2 * sum(1 for c in letters if c.isascii()) >= len(letters)
    edits: list[Edit] = []
    for word in _WORD.finditer(text):
        if word[0].isascii():
            continue
        alike = sum(1 for c in word[0] if c in _PAIRS)
        plain = sum(1 for c in word[0] if c.isascii())
        if alike and (plain or (alike == len(word[0]) and mostly_latin)):
            edits.append((word.start(), word.end(), word[0].translate(_MAP)))
    if edits:
        found.flags.add("lookalike")
    return edited(reading, edits)
