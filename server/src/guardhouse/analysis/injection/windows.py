"""The stretches of a reading that a head judges one by one.

No stretch is skipped, whatever the length: a cut would be a hiding place.
"""

import re
from itertools import pairwise
from typing import Final

_WHOLE: Final = 2_000
_WIDTH, _STEP = 1_000, 500
_CJK_STOPS: Final = "\u3002\uff01\uff1f"
_SENTENCE_END: Final = re.compile(
    rf"(?<=[.!?])[ \t]+|(?<=[{_CJK_STOPS}])|\n+|\\n|[|>]|(?<=[\"}}\],])[ \t]*(?=[\"{{\[])"
)
# The same where no border is of no width; begins with characters, so that the search skips to them.
_COMMON_END: Final = re.compile(
    r"[ \t](?:(?<=[.!?][ \t])[ \t]*|(?<=[\"}\],][ \t])[ \t]*(?=[\"{\[]))|\n+|\\n|[|>]"
)
_NO_WIDTH: Final = re.compile(rf"[{_CJK_STOPS}]|[\"}}\],][\"{{\[]")
_LONGEST_WORD: Final = 400
_WORD: Final = re.compile(
    r"\S{1,400}"
)  # a word without end is cut, so that a window is never the whole document
_WORDS, _OVERLAP = 50, 10
_PAIR_SHORTEST, _PAIR_LONGEST = 16, 400

Window = tuple[int, int]


def user_windows(text: str) -> list[Window]:
    """Return the whole text, and for more than 2,000 code points windows of 1,000 every 500, cut at white space."""
    windows = [(0, len(text))]
    if len(text) <= _WHOLE:
        return windows
    start = 0
    while start < len(text):
        end = min(start + _WIDTH, len(text))
        windows.append((start, _at_space(text, end) if end < len(text) else end))
        if end == len(text):
            break
        start = _at_space(text, start + _STEP)
    return windows


def _at_space(text: str, place: int) -> int:
    near = text.rfind(" ", place - 100, place)
    return near + 1 if near >= 0 else place


def external_windows(text: str) -> list[Window]:
    """Return sentences, at most 50 words each with 10 shared, and each pair of neighbours of 16 to 400 code points."""
    sentences = [window for start, end in _sentences(text) for window in _cut(text, start, end)]
    pairs = [
        (first[0], second[1])
        for first, second in pairwise(sentences)
        if _PAIR_SHORTEST < second[1] - first[0] < _PAIR_LONGEST
    ]
    return sentences + pairs


def _sentences(text: str) -> list[Window]:
    found: list[Window] = []
    start = 0
    borders = _SENTENCE_END if _NO_WIDTH.search(text) else _COMMON_END
    for border in borders.finditer(text):
        found.append((start, border.start()))
        start = border.end()
    found.append((start, len(text)))
    return [window for window in found if text[window[0] : window[1]].strip()]


def _cut(text: str, start: int, end: int) -> list[Window]:
    piece = text[start:end]
    if end - start <= _LONGEST_WORD and len(piece.split(None, _WORDS)) <= _WORDS:
        return [(end - len(piece.lstrip()), start + len(piece.rstrip()))]
    words = [m.span() for m in _WORD.finditer(text, start, end)]
    if len(words) <= _WORDS:
        return [(words[0][0], words[-1][1])]
    return [
        (words[n][0], words[min(n + _WORDS, len(words)) - 1][1])
        for n in range(0, len(words) - _OVERLAP, _WORDS - _OVERLAP)
    ]
