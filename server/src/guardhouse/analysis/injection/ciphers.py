"""Step 15 of the normaliser: a text written in ROT13 or with its letters in reverse order.

Tried only where the text as it stands reads like no language (its share of known words is small), and kept only
where the turned text reads clearly better.
"""

import codecs
from typing import Final

from guardhouse.analysis.injection.findings import Findings
from guardhouse.analysis.injection.known_words import known_share
from guardhouse.analysis.injection.offsets import Reading

_WORDS_AT_LEAST: Final = 3
_FEW, _ENOUGH, _TIMES = 0.25, 0.25, 2  # backwards English holds the small words of other languages
_LINE_AT_LEAST: Final = 12


def turned(reading: Reading, masked: str, found: Findings) -> None:
    """Add the views that read as a language where the text does not; long texts are judged line by line."""
    share, words = known_share(masked)
    if words < _WORDS_AT_LEAST:
        return
    if share < _FEW:
        _turn(reading, share, found)
        return
    if "\n" not in masked:
        return
    start = 0
    for line in masked.split("\n"):
        end = start + len(line)
        if len(line) >= _LINE_AT_LEAST:
            share, words = known_share(line)
            if words >= _WORDS_AT_LEAST and share < _FEW:
                _turn(reading.part(start, end), share, found)
        start = end + 1


def _turn(reading: Reading, share: float, found: Findings) -> None:
    text = reading.text
    bar = max(_ENOUGH, _TIMES * share)
    rot13 = codecs.encode(text, "rot13")
    if rot13 != text and known_share(rot13)[0] > bar:
        found.add("rot13", Reading(rot13, reading.starts, reading.ends))
    backwards = text[::-1]
    if known_share(backwards)[0] > bar:
        whole = reading.part(0, len(text))
        found.add("reversed", Reading(backwards, (whole.starts or ())[::-1], (whole.ends or ())[::-1]))
