"""The verdict head: an additive score over the distinct 1- to 3-grams of calls a process has made so far.

score = b + S / sqrt(D): S the sum of the weights of the grams seen, D their number; evidence is half of what is
over 0, in nats. Invariants: exactly incremental, integers alone, so that the same calls give the same score to the
byte; bounded, at most 512 grams are remembered of a process; each gram's share of the score is its weight /
sqrt(D). Weights are of one tenant and one alphabet; none are shipped.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from math import isqrt
from typing import Any, Final

from guardhouse.analysis.risk.surprise import CALL_BITS, CALL_MASK, call_name
from guardhouse.analysis.risk.tables import MICRO

EVIDENCE_ID: Final = "head.verdict"
HALF_LIFE_S: Final = 1_800
ORDERS: Final = 3
MAX_WORDS: Final = 4_096
MAX_REMEMBERED: Final = 512
FIRST_JUDGED: Final = 10  # the call from which on the score is looked at
MEMO_LIMIT: Final = 25_000
_SCALE: Final = MICRO * MICRO
_GRAM_MASK: Final = (1 << (ORDERS * CALL_BITS)) - 1


def grams(key: int) -> Iterator[int]:
    """Yield the 1-, 2- and 3-gram that end with the call of `key` (see `surprise.gram`), the shortest first.

    A gram is its calls of 12 bits below a leading 1; none reaches back before the first call of a thread.
    """
    for order in range(1, ORDERS + 1):
        shift = CALL_BITS * order
        yield (1 << shift) | (key & ((1 << shift) - 1))
        if (key >> shift) & CALL_MASK == 0:
            return


def gram_calls(word: int) -> list[str]:
    """Return the names of a gram's calls, first to last."""
    names: list[str] = []
    while word > 1:
        names.append(call_name(word & CALL_MASK))
        word >>= CALL_BITS
    return names[::-1]


class Head:
    """One version of the weights of one alphabet, in millionths. Immutable once made."""

    __slots__ = ("alphabet", "bias", "memo", "places", "version", "weights", "words")

    def __init__(self, version: int, alphabet: str, bias: int, weights: Mapping[int, int]) -> None:
        self.version = version
        self.alphabet = alphabet
        self.bias = bias
        self.words = tuple(sorted(weights))
        self.weights = tuple(weights[word] for word in self.words)
        self.places = {word: place for place, word in enumerate(self.words)}
        self.memo: dict[int, int] = {}

    def mask(self, key: int) -> int:
        """Return the known grams that end with the call of `key`, a bit for each, remembered in a bounded memo."""
        mask = 0
        for word in grams(key):
            place = self.places.get(word)
            if place is not None:
                mask |= 1 << place
        if len(self.memo) >= MEMO_LIMIT:
            self.memo.clear()
        self.memo[key] = mask
        return mask

    def pack(self) -> bytes:
        """Return the version as bytes: the same weights give the same ones."""
        fields = [1, self.version, self.alphabet, self.bias, list(zip(self.words, self.weights, strict=True))]
        return json.dumps(fields, separators=(",", ":")).encode("ascii")

    @classmethod
    def unpack(cls, packed: bytes) -> "Head":
        """Return the head that `pack` wrote."""
        _, version, alphabet, bias, weights = json.loads(packed)
        return cls(version, alphabet, bias, dict(weights))


class HeadTrace:
    """What one process has shown to one head: the grams seen, a bit for each, their number and weights' sum."""

    __slots__ = ("calls", "count", "head", "seen", "total")

    def __init__(self, head: Head) -> None:
        self.head = head
        self.seen = 0
        self.count = 0
        self.total = 0
        self.calls = 0  # up to `FIRST_JUDGED`

    def follow(self, key: int) -> bool:
        """Take one call further; tells whether the score is worth a look: it may have changed and is judged yet."""
        key &= _GRAM_MASK
        mask = self.head.memo.get(key)
        if mask is None:
            mask = self.head.mask(key)
        if self.calls < FIRST_JUDGED:
            self.calls += 1
            self._see(mask)
            return self.calls == FIRST_JUDGED
        if mask & self.seen == mask or self.count >= MAX_REMEMBERED:
            return False
        self._see(mask)
        return True

    def _see(self, mask: int) -> None:
        new = mask & ~self.seen
        weights = self.head.weights
        while new and self.count < MAX_REMEMBERED:
            lowest = new & -new
            new ^= lowest
            self.seen |= lowest
            self.count += 1
            self.total += weights[lowest.bit_length() - 1]

    @property
    def score(self) -> int:
        """The score in millionths: log-odds of a confirmed run as the head sees them."""
        if self.count == 0:
            return self.head.bias
        return self.head.bias + self.total * MICRO // isqrt(self.count * _SCALE)

    @property
    def nats(self) -> int:
        """The evidence in micro-nats, before the family's cap."""
        return max(0, self.score // 2)

    def shares(self) -> list[tuple[int, int]]:
        """Return (gram, its share of the score in millionths), largest first; with the bias they sum to the score.

        Each share is rounded down on its own.
        """
        root = isqrt(self.count * _SCALE) or 1
        weights, words = self.head.weights, self.head.words
        out = []
        left = self.seen
        while left:
            lowest = left & -left
            left ^= lowest
            place = lowest.bit_length() - 1
            out.append((words[place], weights[place] * MICRO // root))
        return sorted(out, key=lambda share: (-share[1], share[0]))

    def pack(self) -> list[Any]:
        """Fields as JSON values."""
        return [self.head.version, f"{self.seen:x}", self.count, self.total, self.calls]

    @classmethod
    def unpack(cls, packed: Sequence[Any], head: Head) -> "HeadTrace":
        """The trace that `pack` wrote, of the same head."""
        trace = cls(head)
        _, seen, trace.count, trace.total, trace.calls = packed
        trace.seen = int(seen, 16)
        return trace


class HeadSet:
    """The heads of one tenant by version, and which of them an agent has taken: version -> speaks (else shadow)."""

    __slots__ = ("heads", "taken")

    def __init__(self, heads: Mapping[int, Head], taken: Mapping[int, bool]) -> None:
        self.heads = heads
        self.taken = dict(sorted(taken.items()))

    def bind(self, alphabet: str) -> "list[HeadTrace] | None":
        """Return fresh traces for a program that begins, None when no head knows its alphabet."""
        found = [self.heads[version] for version in self.taken]
        return [HeadTrace(head) for head in found if head.alphabet == alphabet] or None

    def rebind(self, packed: Sequence[Any]) -> "list[HeadTrace] | None":
        """Return the traces that were packed, of heads that are still known."""
        known = [(fields, self.heads.get(fields[0])) for fields in packed]
        return [HeadTrace.unpack(fields, head) for fields, head in known if head is not None] or None

    def speaks(self, version: int) -> bool | None:
        """Whether a version counts; False in shadow, None when it is switched off."""
        return self.taken.get(version)
