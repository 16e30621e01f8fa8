"""The baseline of one program in one group: what its ended, harmless runs did. Immutable once built.

Invariants: learning the same runs in any order gives the same bytes; a version never changes; memoised values
equal computed ones.
"""

import json
from typing import Any, Final, Protocol

from guardhouse.analysis.risk.surprise import CallCounts, surprise_of_three
from guardhouse.analysis.risk.tables import HALVING_STEPS, MICRO, decayed, log2_micro

FULL_TRACES: Final = frozenset({"strace.full.v1", "bpf.full.v1", "native.v1"})
N0_FULL: Final = 2_000
N0_SUBSET: Final = 500
BINS: Final = 64
BINS_PER_OCTAVE: Final = 8
FIRST_EDGE: Final = 250_000  # micro-bits
MIN_VALUES: Final = 500
LEAST_LIMIT: Final = 500_000
NO_LIMIT: Final = 1 << 62
MEMO_LIMIT: Final = 25_000
IMPORTED: Final = frozenset({"falco.v1", "tetragon.v1", "tracee.v1"})
"""Alphabets of other tools: they report what their policies pick, so their order of calls means nothing."""
_SHARED: Final = ("/tmp", "/var/tmp", "/dev/shm", "/run/user")  # noqa: S108 - classes of paths, nothing is written
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_HASH_LENGTH: Final = 6


def bin_of(mean_micro: int) -> int:
    """The histogram bin of a running mean in micro-bits: 8 per octave from 0.25 bit, clamped to 0..63."""
    if mean_micro <= FIRST_EDGE:
        return 0
    octaves = log2_micro(float(mean_micro)) - log2_micro(float(FIRST_EDGE))
    return min(BINS - 1, octaves * BINS_PER_OCTAVE // MICRO)


def upper_edge(index: int) -> int:
    """The upper edge of a bin in micro-bits: 0.25 x 2^((index + 1) / 8)."""
    octave, eighth = divmod(index + 1, BINS_PER_OCTAVE)
    # 2^(eighth/8) = 2 x 2^-(1 - eighth/8), read from the halving table over one hour of 1,024 parts
    rest = HALVING_STEPS - eighth * (HALVING_STEPS // BINS_PER_OCTAVE)
    return decayed(2 * FIRST_EDGE, rest * MICRO, HALVING_STEPS) << octave


def q999(histogram: list[int]) -> int:
    """The 99.9th percentile as an upper bin edge in micro-bits; `NO_LIMIT` under 500 values."""
    total = sum(histogram)
    if total < MIN_VALUES:
        return NO_LIMIT
    seen = 0
    for index, count in enumerate(histogram):
        seen += count
        if seen * 1000 >= total * 999:
            return upper_edge(index)
    return NO_LIMIT


def path_class(path: str) -> str:
    """`..`, `rel`, a shared temporary place, or the first two components with numbers and hashes as `#`."""
    if ".." in path.split("/"):
        return ".."
    if not path.startswith("/"):
        return "rel"
    parts = [part for part in path.split("/") if part not in ("", ".")]
    clean = "/" + "/".join(parts)
    for shared in _SHARED:
        if clean == shared or clean.startswith(shared + "/"):
            return shared
    return "/" + "/".join("#" if _is_number(part) else part for part in parts[:2])


def _is_number(part: str) -> bool:
    return part.isdigit() or (len(part) >= _HASH_LENGTH and all(char in _HEX for char in part))


class Baseline:
    """Mergeable counts of one program: calls, runs, hits per evidence id, edges, path classes, histogram."""

    __slots__ = ("calls", "counts", "edges", "histogram", "hits", "paths", "runs")

    def __init__(self) -> None:
        self.counts = CallCounts()
        self.calls = 0
        self.runs = 0
        self.hits: dict[str, int] = {}  # evidence id -> runs that had it
        self.edges: set[str] = set()
        self.paths: set[str] = set()  # "r /usr/lib", "w /tmp"
        self.histogram = [0] * BINS

    def pack(self) -> list[Any]:
        """Sorted JSON values."""
        return [
            self.counts.pack(), self.calls, self.runs, sorted(self.hits.items()), sorted(self.edges),
            sorted(self.paths), self.histogram,
        ]  # fmt: skip

    @classmethod
    def unpack(cls, packed: list[Any]) -> "Baseline":
        """The baseline that `pack` wrote."""
        baseline = cls()
        counts, baseline.calls, baseline.runs, hits, edges, paths, baseline.histogram = packed
        baseline.counts = CallCounts.unpack(counts)
        baseline.hits = dict(hits)
        baseline.edges = set(edges)
        baseline.paths = set(paths)
        return baseline

    def copy(self) -> "Baseline":
        """An independent copy."""
        out = Baseline()
        out.calls = self.calls
        out.runs = self.runs
        out.counts = self.counts.copy()
        out.hits = dict(self.hits)
        out.edges = set(self.edges)
        out.paths = set(self.paths)
        out.histogram = list(self.histogram)
        return out


class Profile:
    """One version of one program's baseline, ready for the hot path. `limit` is max(0.5 bit, q999)."""

    __slots__ = (
        "_paths", "_tables", "alphabet", "baseline", "exe", "group", "habits", "limit", "memo", "ripeness",
        "runs", "version",
    )  # fmt: skip

    def __init__(
        self, exe: str, alphabet: str, group: str, version: int, baseline: Baseline, everyone: CallCounts
    ) -> None:  # fmt: skip
        self.exe = exe
        self.alphabet = alphabet
        self.group = group
        self.version = version
        self.baseline = baseline
        self.runs = baseline.runs
        self.memo: dict[int, int] = {}
        self._paths: dict[tuple[str, str], bool] = {}
        self._tables = (everyone.table(), baseline.counts.table())
        limit = NO_LIMIT if alphabet in IMPORTED else q999(baseline.histogram)
        self.limit = max(LEAST_LIMIT, limit)
        self.ripeness = ripeness_of(baseline.calls, alphabet)
        self.habits = {
            name: habit_factor(count, baseline.runs) for name, count in sorted(baseline.hits.items())
        }

    @property
    def name(self) -> str:
        """The short name shown to people: program@group."""
        return f"{self.exe.rpartition('/')[2]}@{self.group}"

    def bits(self, key: int) -> int:
        """Surprise of a gram in micro-bits, remembered in a bounded memo."""
        value = surprise_of_three(self._tables, key)
        memo = self.memo
        if len(memo) >= MEMO_LIMIT:
            memo.clear()
        memo[key] = value
        return value

    def maturity(self, sixteenths: int) -> int:
        """M in millionths: N / (N + N0) times the loss factor."""
        return self.ripeness * sixteenths // 16

    def habit(self, evidence_id: str) -> int:
        """The habituation factor in millionths: 1,000,000 never seen in a run, 0 in every one."""
        return self.habits.get(evidence_id, MICRO)

    def hits(self, evidence_id: str) -> int:
        """In how many learned runs this evidence was seen."""
        return self.baseline.hits.get(evidence_id, 0)

    def knows_edge(self, exe: str) -> bool:
        """Whether a run of this program has started that program before."""
        return exe in self.baseline.edges

    def knows_path(self, access: str, path: str) -> bool:
        """Whether a run has opened this class of paths this way before."""
        memo = self._paths
        known = memo.get((access, path))
        if known is None:
            if len(memo) >= MEMO_LIMIT:
                memo.clear()
            known = memo[(access, path)] = f"{access} {path_class(path)}" in self.baseline.paths
        return known


def half_mature(alphabet: str) -> int:
    """N0: the learned calls at which a baseline of this alphabet is half mature."""
    return N0_FULL if alphabet in FULL_TRACES else N0_SUBSET


def ripeness_of(calls: int, alphabet: str) -> int:
    """N / (N + N0) in millionths: the maturity of a baseline before losses."""
    return MICRO * calls // (calls + half_mature(alphabet))


def habit_factor(hits: int, runs: int) -> int:
    """ln((R+1)/(c+1)) / ln(R+1) in millionths; 1,000,000 without hits or runs, 0 when every run had it."""
    if hits <= 0 or runs <= 0:
        return MICRO
    hits = min(hits, runs)
    whole = log2_micro(float(runs + 1))
    return max(0, min(MICRO, MICRO * (whole - log2_micro(float(hits + 1))) // whole))


class Profiles(Protocol):
    """Where the engine finds baselines; versions never change once built."""

    def newest(self, exe: str, alphabet: str) -> Profile | None:
        """The version a process binds at exec."""
        ...

    def at(self, exe: str, alphabet: str, version: int) -> Profile | None:
        """The version a packed process was bound to."""
        ...


class ProfileSet:
    """All baselines of one group at one version; also a `Profiles` for tests, benches and single groups."""

    def __init__(self, group: str = "", version: int = 0) -> None:
        self.group = group
        self.version = version
        self.baselines: dict[tuple[str, str], Baseline] = {}  # (exe, alphabet)
        self.everyone: dict[str, CallCounts] = {}  # alphabet -> counts of all programs
        self._built: dict[tuple[str, str], Profile] = {}

    def newest(self, exe: str, alphabet: str) -> Profile | None:
        """This set's profile of a program, built once."""
        key = (exe, alphabet)
        built = self._built.get(key)
        if built is None and key in self.baselines:
            everyone = self.everyone.get(alphabet) or CallCounts()
            built = Profile(exe, alphabet, self.group, self.version, self.baselines[key], everyone)
            self._built[key] = built
        return built

    def at(self, exe: str, alphabet: str, version: int) -> Profile | None:
        """This set's profile when the version is its own."""
        return self.newest(exe, alphabet) if version == self.version else None

    def pack(self) -> bytes:
        """The whole set as bytes: the same runs give the same bytes in whatever order they were learned."""
        fields = [
            1, self.group, self.version,
            [[exe, alphabet, base.pack()] for (exe, alphabet), base in sorted(self.baselines.items())],
            [[alphabet, counts.pack()] for alphabet, counts in sorted(self.everyone.items())],
        ]  # fmt: skip
        return json.dumps(fields, separators=(",", ":")).encode("ascii")

    @classmethod
    def unpack(cls, packed: bytes) -> "ProfileSet":
        """The set that `pack` wrote."""
        _, group, version, baselines, everyone = json.loads(packed)
        out = cls(group, version)
        out.baselines = {(exe, alphabet): Baseline.unpack(fields) for exe, alphabet, fields in baselines}
        out.everyone = {alphabet: CallCounts.unpack(fields) for alphabet, fields in everyone}
        return out
