"""Everything in a model's answer that should not leave it.

Each detector looks at the answer as it stands, at what is left without hidden characters, and at what is decoded from
it. None looks at more than its neighbourhood, so that an answer that comes in pieces can be scanned in pieces.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from guardhouse.analysis.injection import canary
from guardhouse.analysis.injection.decode_payloads import payloads
from guardhouse.analysis.injection.exfiltration import exfiltration
from guardhouse.analysis.injection.find_secrets import secrets
from guardhouse.analysis.injection.findings import Findings
from guardhouse.analysis.injection.hidden_characters import clean
from guardhouse.analysis.injection.leak import Leak
from guardhouse.analysis.injection.markup import without_entities, without_escapes, without_percent
from guardhouse.analysis.injection.offsets import Reading
from guardhouse.analysis.injection.personal_data import personal_data
from guardhouse.analysis.injection.prompt_echo import Protected, echoes

MOST_VIEWS: Final = 64
CANARY_SEVERITY: Final = 4


@dataclass(frozen=True, slots=True)
class Watched:
    """What an answer is scanned for.

    Args:
        is_own_key: Whether a string of the shape of this platform's keys is one.
        allowed_hosts: Hosts that may be linked.
        sources: Texts whose content no link may carry.
        protected: Texts that must not be repeated.
    """

    is_own_key: Callable[[str], bool]
    allowed_hosts: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    protected: tuple[Protected, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Scan:
    """The leaks of a text but for what it repeats as it stands; flags of its readings.

    A leak of the kind ``canary`` is a candidate: whoever made the tokens knows whether it is one.
    """

    leaks: tuple[Leak, ...]
    flags: tuple[str, ...]


def scan(text: str, watched: Watched) -> Scan:
    """Scan a text and what can be read in it."""
    found = Findings(most_views=MOST_VIEWS)
    whole = Reading(text)
    plain = _unescaped(clean(whole, found), found)
    leaks = _of_reading(whole, watched)
    if plain.text != text:
        leaks += _new(leaks, _of_reading(plain, watched))
    _decode(plain, found)
    done = 0
    while done < len(found.views):
        _, view, found.depth = found.views[done]
        done += 1
        reading = _unescaped(view, found)
        _decode(reading, found)
        repeated = [_placed(leak, reading) for leak in echoes(reading.text, watched.protected)]
        leaks += _new(leaks, [*_of_reading(reading, watched), *repeated])
    leaks += _links(whole, watched, leaks)
    if plain.text != text:
        leaks += _new(leaks, _links(plain, watched, ()))
    return Scan(tuple(leaks), tuple(sorted(found.flags)))


def _unescaped(reading: Reading, found: Findings) -> Reading:
    for step in (without_entities, without_percent, without_escapes):
        reading = step(reading, found)
    return reading


def _decode(reading: Reading, found: Findings) -> None:
    for _ in payloads(reading, found):
        pass


def _links(reading: Reading, watched: Watched, others: Sequence[Leak]) -> list[Leak]:
    links = exfiltration(reading.text, watched.allowed_hosts, watched.sources, others)
    return [_placed(leak, reading) for leak in links]


def _of_reading(reading: Reading, watched: Watched) -> list[Leak]:
    text = reading.text
    inside = [*_canaries(text), *secrets(text, watched.is_own_key), *personal_data(text)]
    return [_placed(leak, reading) for leak in inside]


def _canaries(text: str) -> Iterator[Leak]:
    for one in canary.candidates(Reading(text)):
        yield Leak("canary", "canary", one.start, one.end, one.token, CANARY_SEVERITY, one.start)


def _placed(leak: Leak, reading: Reading) -> Leak:
    """Return a leak of a reading with its place in the text as sent."""
    if reading.starts is None:
        return leak
    start, end = reading.span(leak.start, leak.end)
    begin = min(start, reading.span(leak.begin, leak.end)[0])
    return Leak(leak.kind, leak.detector, start, end, leak.value, leak.severity, begin)


def _new(known: Sequence[Leak], more: Sequence[Leak]) -> list[Leak]:
    """Return the leaks that are not known by kind and value at a place they share."""
    return [
        leak
        for leak in more
        if not any(
            leak.kind == other.kind
            and leak.start < other.end
            and other.start < leak.end
            and (leak.value == other.value or leak.detector == other.detector)
            for other in known
        )
    ]
