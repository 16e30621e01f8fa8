"""Whether decoded bytes are words that somebody wrote, or an accident."""

import re
from typing import Final

SHORTEST, LONG = 6, 24
PRINTABLE_SHARE, LETTER_SHARE = 0.95, 0.60
_UNSEEN: Final = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_WIDE_SPACE: Final = "\u3000"
_TAG_LETTERS: Final = {0xE0000 + code: code for code in range(0x20, 0x7F)}


def is_plausible(text: str) -> bool:
    """At least 6 code points, 95 % of them printable or white space, 60 % letters or spaces.

    From 24 code points on digits count as letters: there a text is no accident, and may be another encoding. What
    later steps take out or read otherwise, such as zero-width and tag characters, is no accident either.
    """
    if not text.isascii():
        text = _UNSEEN.sub("", text.translate(_TAG_LETTERS)).replace(_WIDE_SPACE, " ")
    if len(text) < SHORTEST:
        return False
    printable = sum(1 for c in text if c.isprintable() or c in "\n\t\r")
    letters = sum(1 for c in text if c.isalpha() or c.isspace() or (len(text) >= LONG and c.isalnum()))
    return printable >= PRINTABLE_SHARE * len(text) and letters >= LETTER_SHARE * len(text)
