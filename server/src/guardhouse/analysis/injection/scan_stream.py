"""Scan an answer that comes in pieces: whatever the cuts, what is told of it is what the whole text holds.

After each piece the end of the text is held back from where something could still begin; what begins before that is
settled and told. A leak longer than may be held is told early and told again as it grows. Nothing is kept but
``Held``; it holds the last few hundred code points of the text.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from guardhouse.analysis.injection import canary
from guardhouse.analysis.injection.decode_payloads import begun_payloads, whole_groups
from guardhouse.analysis.injection.exfiltration import URL_CHARACTER
from guardhouse.analysis.injection.find_secrets import PRIVATE_KEY_BODY, PRIVATE_KEY_END
from guardhouse.analysis.injection.leak import Leak
from guardhouse.analysis.injection.prompt_echo import Heard, Listener
from guardhouse.analysis.injection.scan_output import Watched, scan

MOST_HELD: Final = 512  # code points
CONTEXT: Final = 128  # before what is held: what a label or a look behind needs
ALWAYS_HELD: Final = 64
_LABEL_ZONE: Final = 192
_MOST_MARKS, _MARK_BYTES = 8, 8
_PARTS: Final = frozenset({"secret", "pii"})  # of two that overlap one is told
_NEAR: Final = 4  # separators that may follow within a value
_KEY_ENDED: Final = "-----"
_SPACE: Final = re.compile(r"\s(?=\S*\Z)")
_LABEL: Final = re.compile(r"aws|-----BEGIN", re.IGNORECASE)
_REFERENCE: Final = re.compile(r"^ {0,3}\[[^\n]{0,300}\Z", re.MULTILINE)
_GOES_ON: Final = {
    "private_key": re.compile(rf"{PRIVATE_KEY_BODY}{{0,8000}}{PRIVATE_KEY_END}"),
    "json_web_token": re.compile(r"[A-Za-z0-9_\-]*(?:\.[A-Za-z0-9_\-]{16,1000})?"),
    "md_exfil": re.compile(rf"{URL_CHARACTER}*"),
}


@dataclass(frozen=True, slots=True)
class Open:
    """A leak that was told before its end was there; places count from the first code point of the answer."""

    kind: str
    detector: str
    start: int
    end: int
    severity: int


@dataclass(frozen=True, slots=True)
class Held:
    """What is carried from one piece to the next.

    Args:
        offset: Code points of the answer before ``text``.
        text: The context and what is held back.
        settled: How many code points of the answer may be shown.
        covered: By kind, where the last leak ends that was told: what begins within it is its part.
        open: Leaks that may go on.
        decoded: Marks of what was last found in a payload that began before ``text``, so that it is told once.
        heard: What was read for repetitions; its places count from the start of ``text``.
        read: Up to where, counted from the start of ``text``.
    """

    offset: int = 0
    text: str = ""
    settled: int = 0
    covered: dict[str, int] = field(default_factory=dict)
    open: tuple[Open, ...] = ()
    decoded: tuple[bytes, ...] = ()
    heard: Heard | None = None
    read: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """After a piece: what is told now (places in the whole answer), flags, what may be shown, what is carried on."""

    leaks: tuple[Leak, ...]
    flags: tuple[str, ...]
    settled: str
    held: Held


def step(held: Held, piece: str, watched: Watched, *, final: bool) -> Step:
    """Take the next piece of an answer; ``final`` says that it is the last one."""
    text = held.text + piece
    found = scan(text, watched)
    listener = Listener(watched.protected, held.heard)
    repeated = {(leak.detector, leak.start): leak for leak in listener.read(text, held.read, final=final)}
    until = len(text) if final else _hold_from(text, held, found.leaks, listener)
    fresh = [leak for leak in found.leaks if leak.begin < until and _is_new(leak, held)]
    told = [*_grown(held, text), *(_moved(leak, held.offset) for leak in [*fresh, *repeated.values()])]
    kept = whole_groups(text, max(until - CONTEXT, 0))
    listener.forget(kept)
    carried = Held(
        offset=held.offset + kept,
        text=text[kept:],
        settled=held.offset + until,
        covered=_covered(held, told),
        open=_still_open(told, held, held.offset + until),
        decoded=(*held.decoded, *(_mark(leak) for leak in fresh if _is_decoded(leak)))[-_MOST_MARKS:],
        heard=listener.heard if watched.protected else None,
        read=listener.place,
    )
    settled = text[held.settled - held.offset : until]
    return Step(tuple(told), found.flags, settled, carried)


def _is_new(leak: Leak, held: Held) -> bool:
    """Return whether a leak has not been told with an earlier piece."""
    if _is_cut(leak, held):
        return _mark(leak) not in held.decoded
    if leak.begin < held.settled - held.offset:
        return False
    return leak.kind not in _PARTS or leak.start + held.offset >= held.covered.get(leak.kind, 0)


def _is_cut(leak: Leak, held: Held) -> bool:
    """Return whether a leak stands in a payload that began before what is carried; its place says nothing."""
    return held.offset > 0 and leak.begin == 0 and _is_decoded(leak)


def _is_decoded(leak: Leak) -> bool:
    return len(leak.value) < leak.end - leak.start


def _mark(leak: Leak) -> bytes:
    return hashlib.blake2b(f"{leak.kind} {leak.value}".encode(), digest_size=_MARK_BYTES).digest()


def _hold_from(text: str, held: Held, leaks: Sequence[Leak], listener: Listener) -> int:
    """Return the first place from which something could still begin; at most 512 code points before the end."""
    least = max(held.settled - held.offset, len(text) - MOST_HELD)
    start = max(least, len(text) - ALWAYS_HELD)
    start = min([start, *_beginnings(text, least, listener)])
    edge = _SPACE.search(text, least, start) if start > least else None
    start = edge.end() if edge else least
    for leak in sorted(leaks, key=lambda one: -one.end):
        if leak.end + _NEAR >= start and leak.begin >= least:
            start = min(start, leak.begin)
    return max(start, least)


def _beginnings(text: str, least: int, listener: Listener) -> Iterator[int]:
    label = _LABEL.search(text, max(least, len(text) - _LABEL_ZONE))
    reference = _REFERENCE.search(text, least)
    token = canary.begun(text[least:])
    places = [
        label.start() if label else None,
        reference.start() if reference else None,
        None if token is None else least + token,
        listener.undecided(),
        *begun_payloads(text, least),
    ]
    yield from (place for place in places if place is not None)


def _grown(held: Held, text: str) -> Iterator[Leak]:
    """Yield the open leaks that this piece has made longer."""
    for one in held.open:
        place = one.end - held.offset
        goes_on = _GOES_ON.get(one.detector) or _GOES_ON.get(one.kind)
        if goes_on is None or place < 0 or text.endswith(_KEY_ENDED, 0, place):
            continue
        more = goes_on.match(text, place)
        if more and more.end() > place:
            yield Leak(
                one.kind, one.detector, one.start, held.offset + more.end(), "", one.severity, one.start
            )


def _still_open(told: list[Leak], held: Held, until: int) -> tuple[Open, ...]:
    known = [
        *(one for one in held.open if one.end >= until),
        *(Open(one.kind, one.detector, one.start, one.end, one.severity) for one in told if one.end >= until),
    ]
    newest = {(one.kind, one.detector, one.start): one for one in known}
    return tuple(one for one in newest.values() if one.detector in _GOES_ON or one.kind in _GOES_ON)


def _covered(held: Held, told: list[Leak]) -> dict[str, int]:
    covered = dict(held.covered)
    for leak in told:
        if leak.kind in _PARTS:
            covered[leak.kind] = max(covered.get(leak.kind, 0), leak.end)
    return covered


def _moved(leak: Leak, offset: int) -> Leak:
    return replace(leak, start=leak.start + offset, end=leak.end + offset, begin=leak.begin + offset)
