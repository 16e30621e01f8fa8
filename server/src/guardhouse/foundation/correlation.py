"""What is being worked on, carried from request to job, notice and log line: a correlation id, and a trace.

The trace is W3C's (Trace Context, https://www.w3.org/TR/trace-context/): the trace id of whoever called us goes on,
the span in it is ours.
"""

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

_SHAPE: Final = re.compile(
    r"(?!.*gh_(?:live|test)_)[A-Za-z0-9._-]{1,128}"
)  # a key in the wrong header is not spread
_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?"
)
_SAMPLED: Final = 1


@dataclass(frozen=True, slots=True)
class _Work:
    correlation_id: str = ""
    trace_id: str | None = None
    span_id: str = ""
    flags: int = 0


_NOTHING: Final = _Work()
_current: ContextVar[_Work] = ContextVar("work", default=_NOTHING)


def current() -> str:
    """Return the correlation id in force, or the empty string outside any request or job."""
    return _current.get().correlation_id


def trace_id() -> str | None:
    """Return the trace id in force, 32 hex digits, or None where nothing began a trace."""
    return _current.get().trace_id


def traceparent() -> str | None:
    """Return the `traceparent` header that names our part of the trace in force."""
    work = _current.get()
    return None if work.trace_id is None else f"00-{work.trace_id}-{work.span_id}-{work.flags:02x}"


def begin(offered: str | None, *, trace_id: str | None = None) -> str:
    """Put an offered id in force, or a new one when it is absent or not 1-128 of ``[A-Za-z0-9._-]``.

    ``trace_id`` is the trace that the work belongs to, where there is one.
    """
    chosen = offered if offered is not None and _SHAPE.fullmatch(offered) else f"req-{secrets.token_hex(8)}"
    _current.set(_Work(chosen, trace_id, secrets.token_hex(8) if trace_id else ""))
    return chosen


def begin_request(offered: str | None, parent: str | None) -> str:
    """Put an offered correlation id in force as :func:`begin` does, and the trace of ``parent`` or a new one."""
    found = _TRACEPARENT.fullmatch(parent) if parent is not None else None
    if found is not None and parent is not None and parent.startswith("00") and len(parent) != _LENGTH:
        found = None  # version 00 has no more fields
    chosen = begin(offered, trace_id=found[1] if found else secrets.token_hex(16))
    if found and int(found[2], 16) & _SAMPLED:
        work = _current.get()
        _current.set(_Work(work.correlation_id, work.trace_id, work.span_id, _SAMPLED))
    return chosen


_LENGTH: Final = 55
