"""Whether an answer repeats a protected prompt: shingles of eight words, kept as keyed hashes only.

The answer is read word by word as it comes, as it stands, in ROT13 and backwards; however it is cut, the same is
found. Source: w-shingling and its bottom-k sketch (Broder 1997).
"""

import codecs
import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from guardhouse.analysis.injection.hidden_characters import INVISIBLE
from guardhouse.analysis.injection.leak import Leak

SHINGLE: Final = 8
LONGEST_QUOTE: Final = 16  # words in a row that are still no finding begin here
SHARE: Final = 0.30
SKETCH: Final = 256  # shingles of a text that its share is counted over; the lowest hashes are an even sample
_RUN: Final = LONGEST_QUOTE - SHINGLE + 1
_LONGEST_WORD: Final = 64
_UNSEEN: Final = f"{INVISIBLE}{{0,8}}"  # between the letters of a word
_WORD: Final = re.compile(rf"[^\W_](?:{_UNSEEN}[^\W_]){{0,{_LONGEST_WORD - 1}}}")
_NOT_SEEN: Final = re.compile(f"{INVISIBLE}+")
_ENDS_UNSEEN: Final = re.compile(rf"{_UNSEEN}\Z")
_BYTES: Final = 8
_SEVERITY: Final = 4
WAYS: Final = ("plain", "rot13", "backwards")


@dataclass(frozen=True, slots=True)
class Protected:
    """A text that must not be repeated: the keyed hashes of its shingles and the key."""

    key: bytes
    shingles: frozenset[bytes]

    def sketch(self) -> list[bytes]:
        """Return the lowest hashes, in order."""
        return sorted(self.shingles)[:SKETCH]


@dataclass(slots=True)
class Run:
    """Shingles in a row that are a protected text's: how many, and from which code point on."""

    length: int = 0
    start: int = 0


@dataclass(slots=True)
class Heard:
    """What has been read of an answer: the last seven words, and how far each protected text is repeated.

    Args:
        words: (start of the word, its hash in each of the ways).
        runs: One per protected text and way.
        seen: One per protected text: which of its sketch occurred, as bits; empty once enough did.
    """

    words: list[tuple[int, tuple[bytes, ...]]]
    runs: list[Run]
    seen: list[bytes]


class Listener:
    """Reads an answer and tells what it repeats of protected texts."""

    def __init__(self, protected: Sequence[Protected], heard: Heard | None = None) -> None:
        self._protected = protected
        self._sketches = [{one: n for n, one in enumerate(text.sketch())} for text in protected]
        self._hashes: dict[str, tuple[bytes, ...]] = {}
        self.place = 0
        self.heard = (
            Heard(list(heard.words), [Run(run.length, run.start) for run in heard.runs], list(heard.seen))
            if heard
            else Heard(
                [], [Run() for _ in range(len(protected) * len(WAYS))], [bytes(SKETCH // 8)] * len(protected)
            )
        )

    def read(self, text: str, offset: int, *, final: bool) -> Iterator[Leak]:
        """Read the words of ``text`` from ``offset`` on; without ``final`` not one that more text could lengthen.

        Yields a finding at each word that makes or prolongs one; of those with the same start the last one is meant.
        ``place`` then says where to go on.
        """
        words = self.heard.words
        self.place = offset
        for word in _WORD.finditer(text, offset):
            is_cut = len(_NOT_SEEN.sub("", word[0])) < _LONGEST_WORD and _ENDS_UNSEEN.match(text, word.end())
            if is_cut and not final:
                return
            self.place = word.end()
            words.append((word.start(), self._ways(_plain(word[0]))))
            if len(words) > SHINGLE:
                del words[0]
            if len(words) == SHINGLE:
                for number, protected in enumerate(self._protected):
                    yield from self._compare(number, protected, text, word.end())

    def forget(self, length: int) -> None:
        """Count places from ``length`` code points later on."""
        for run in self.heard.runs:
            run.start -= length
        self.heard.words = [(start - length, hashes) for start, hashes in self.heard.words]
        self.place -= length

    def undecided(self) -> int | None:
        """Return where the words begin that more words could make a finding of; None without a protected text."""
        starts = [run.start for run in self.heard.runs if run.length]
        starts += [self.heard.words[-(SHINGLE - 1) :][0][0]] if self.heard.words else []
        return min(starts) if starts and self._protected else None

    def _compare(self, number: int, protected: Protected, text: str, end: int) -> Iterator[Leak]:
        words = self.heard.words
        first = words[0][0]
        for way, name in enumerate(WAYS):
            hashes = [each[way] for _, each in words]
            shingle = _shingle(hashes[::-1] if name == "backwards" else hashes, protected.key)
            run = self.heard.runs[number * len(WAYS) + way]
            if shingle not in protected.shingles:
                run.length = 0
                continue
            run.length, run.start = run.length + 1, run.start if run.length else first
            told = name == "plain" and self._share_reached(number, shingle)
            if told or run.length >= _RUN:
                value = text[max(run.start, 0) : end]
                yield Leak("prompt_echo", name, run.start, end, value, _SEVERITY, run.start)

    def _share_reached(self, number: int, shingle: bytes) -> bool:
        """Note a shingle of a sketch; return whether it is the one that makes the share."""
        sketch, seen = self._sketches[number], self.heard.seen[number]
        place = sketch.get(shingle)
        if not seen or place is None:
            return False
        bits = int.from_bytes(seen) | 1 << place
        reached = bits.bit_count() >= SHARE * len(sketch)
        self.heard.seen[number] = b"" if reached else bits.to_bytes(SKETCH // 8)
        return reached

    def _ways(self, word: str) -> tuple[bytes, ...]:
        if word not in self._hashes:
            self._hashes[word] = tuple(
                _hash(each) for each in (word, codecs.encode(word, "rot13"), word[::-1])
            )
        return self._hashes[word]


def shingles(text: str, key: bytes) -> frozenset[bytes]:
    """Return the keyed 8-byte hashes of a text's shingles; a text of fewer than eight words has none."""
    words = [_hash(_plain(m[0])) for m in _WORD.finditer(text)]
    return frozenset(_shingle(words[n : n + SHINGLE], key) for n in range(len(words) - SHINGLE + 1))


def echoes(text: str, protected: Sequence[Protected]) -> list[Leak]:
    """Return the stretches of a text that repeat a protected one: 16 words in a row, or 30 % of its shingles."""
    found: dict[tuple[str, int], Leak] = {}
    for leak in Listener(protected).read(text, 0, final=True):
        found[leak.detector, leak.start] = leak
    return list(found.values())


def _plain(word: str) -> str:
    if word.isascii():
        return word.lower()
    return unicodedata.normalize("NFKC", _NOT_SEEN.sub("", word)).lower()


def _hash(word: str) -> bytes:
    return hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=_BYTES).digest()


def _shingle(words: Sequence[bytes], key: bytes) -> bytes:
    return hashlib.blake2b(b"".join(words), digest_size=_BYTES, key=key).digest()
