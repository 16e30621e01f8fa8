"""The short form in which a rule's tests write events, checked and expanded.

Unless said otherwise `pid` is 100, its parent the init process, events are one millisecond apart (`at` sets
seconds), and `repeat = n` repeats an event with `{n}` in its strings. Invariant: a checked list expands to at
most 1,000 events of the shapes that the engine reads.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from guardhouse.analysis.risk.conditions import RuleInvalidError, below
from guardhouse.analysis.risk.event import RiskEvent

EPOCH_US: Final = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
MAX_EVENTS: Final = 1_000
MAX_SECONDS: Final = 14 * 24 * 3600
MAX_PID: Final = 4_194_304
KINDS: Final = ("call", "exec", "fork", "exit", "calls", "finding", "loss", "inventory")
_DIRECT: Final = (
    "tid", "ppid", "start", "exe", "comm", "call", "ret", "errno", "child_pid", "child_start", "code",
    "alphabet", "extra",
)  # fmt: skip


def _number(low: int, high: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _counted(value: object) -> bool:
    return value == "{n}" or _number(0, MAX_PID)(value)


def _text(value: object) -> bool:
    return isinstance(value, str)


_whole: Final = _number(-(1 << 63), (1 << 63) - 1)
_SHAPES: Final[Mapping[str, Callable[[object], bool]]] = {
    "kind": lambda value: value in KINDS,
    "pid": _counted,
    "tid": _counted,
    "ppid": _counted,
    "child_pid": _counted,
    "start": _number(0, 1 << 62),
    "child_start": _number(0, 1 << 62),
    "exe": _text,
    "comm": _text,
    "call": _text,
    "errno": _text,
    "alphabet": _text,
    "ret": _whole,
    "code": _whole,
    "args": lambda value: isinstance(value, dict),
    "extra": lambda value: isinstance(value, dict),
    "names": lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
    "at": lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_SECONDS
    ),
    "repeat": _number(1, MAX_EVENTS),
}


def check_events(events: object, where: str) -> None:
    """Insist on a list of short events that can be expanded.

    Raises:
        RuleInvalidError: unknown word, value of the wrong shape, none, or more than 1,000 once expanded.
    """
    if not isinstance(events, list) or not events:
        raise RuleInvalidError(where, "a test without events")
    total = 0
    for number, event in enumerate(events):
        place = below(where, number)
        if not isinstance(event, dict):
            raise RuleInvalidError(place, "expected an event")
        for word, value in event.items():
            fits = _SHAPES.get(word)
            if fits is None:
                raise RuleInvalidError(below(place, word), f"unknown word {word!r}")
            if not fits(value):
                raise RuleInvalidError(below(place, word), f"not a value of {word}")
        total += event.get("repeat", 1)
    if total > MAX_EVENTS:
        raise RuleInvalidError(where, f"more than {MAX_EVENTS} events")


def _numbered(value: Any, number: int) -> Any:
    if value == "{n}":
        return number
    if isinstance(value, str):
        return value.replace("{n}", str(number))
    if isinstance(value, Mapping):
        return {key: _numbered(item, number) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbered(item, number) for item in value]
    return value


def expand_events(short: list[dict[str, Any]]) -> Iterator[RiskEvent]:
    """The full events of a test, in position order, ids counted up."""
    position = 0
    for raw in short:
        for number in range(int(raw.get("repeat", 1))):
            item = _numbered(raw, number)
            position += 1
            at_us = int(item["at"] * 1_000_000) if "at" in item else position * 1000
            args = item.get("args")
            yield RiskEvent(
                position=position,
                event_id=position.to_bytes(16, "big"),
                occurred_us=EPOCH_US + at_us,
                kind=item.get("kind", "call"),
                pid=item.get("pid", 100),
                boot_id="test",
                args=args,
                names=tuple(item["names"]) if "names" in item else None,
                **{name: item[name] for name in _DIRECT if name in item},
            )
