# This module belongs to guardhouse-agent.
"""Random keys of events, drawn many at a time: one system call serves 256 events."""

import os
import threading
import uuid

_DRAWN_AT_ONCE = 256
_VERSION_4 = 4 << 76
_VARIANT = 2 << 62
_CLEARED = ~((0xF << 76) | (3 << 62)) & ((1 << 128) - 1)
_numbers: list[int] = []
_refilling = threading.Lock()


def new_key() -> uuid.UUID:
    """Return a fresh random UUID (version 4). Safe from any thread; a forked child draws its own."""
    try:
        number = _numbers.pop()
    except IndexError:
        number = _refill()
    key = object.__new__(uuid.UUID)
    # UUID checks five forms of input first, which takes longer than all the rest of a capture.
    object.__setattr__(key, "int", number)
    object.__setattr__(key, "is_safe", uuid.SafeUUID.unknown)
    return key


def _refill() -> int:
    with _refilling:
        drawn = os.urandom(16 * _DRAWN_AT_ONCE)
        numbers = [
            int.from_bytes(drawn[at : at + 16], "big") & _CLEARED | _VERSION_4 | _VARIANT
            for at in range(0, len(drawn), 16)
        ]
        last = numbers.pop()
        _numbers.extend(numbers)
        return last


def _forget_after_fork() -> None:
    global _refilling  # noqa: PLW0603 - the parent's lock may be held by a thread that the child does not have
    _refilling = threading.Lock()
    _numbers.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
