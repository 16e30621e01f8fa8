"""Whether an answer repeats a protected prompt: shingles of eight words, kept as keyed hashes only.

Source: w-shingling (Broder 1997).
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

SHINGLE: Final = 8
LONGEST_QUOTE: Final = 16  # words in a row that are still no finding begin here
SHARE: Final = 0.30
_WORD: Final = re.compile(r"[^\W_]+")
_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Echo:
    """``[start, end)`` of the answer repeats ``words`` words; ``share`` of the protected text's shingles occur."""

    start: int
    end: int
    words: int
    share: float


def shingles(text: str, key: bytes) -> frozenset[bytes]:
    """Return the keyed 8-byte hashes of a text's shingles; a text of fewer than eight words has none."""
    return frozenset(digest for digest, _, _ in _shingles(text, key))


def echo(text: str, protected: frozenset[bytes], key: bytes) -> Echo | None:
    """Return the longest repeated stretch if it has 16 words, or if 30 % of the protected shingles occur."""
    if not protected:
        return None
    seen: set[bytes] = set()
    run, best = 0, 0
    begin = start = end = 0
    for digest, first, last in _shingles(text, key):
        if digest not in protected:
            run = 0
            continue
        seen.add(digest)
        if not run:
            begin = first
        run += 1
        if run > best:
            best, start, end = run, begin, last
    share = len(seen) / len(protected)
    words = best + SHINGLE - 1 if best else 0
    return Echo(start, end, words, share) if words >= LONGEST_QUOTE or share >= SHARE else None


def _shingles(text: str, key: bytes) -> Iterator[tuple[bytes, int, int]]:
    words = [(m[0].lower(), *m.span()) for m in _WORD.finditer(text)]
    for n in range(len(words) - SHINGLE + 1):
        run = words[n : n + SHINGLE]
        joined = " ".join(word for word, _, _ in run).encode("utf-8", "replace")
        yield hashlib.blake2b(joined, digest_size=_BYTES, key=key).digest(), run[0][1], run[-1][2]
