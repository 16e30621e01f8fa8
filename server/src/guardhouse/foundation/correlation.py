"""The correlation id of what is being worked on, carried from request to job, notice and log line."""

import re
import secrets
from contextvars import ContextVar
from typing import Final

_SHAPE: Final = re.compile(
    r"(?!.*gh_(?:live|test)_)[A-Za-z0-9._-]{1,128}"
)  # a key in the wrong header is not spread
_current: ContextVar[str] = ContextVar("correlation_id", default="")


def current() -> str:
    """Return the id in force, or the empty string outside any request or job."""
    return _current.get()


def begin(offered: str | None) -> str:
    """Put an offered id in force, or a new one when it is absent or not 1-128 of ``[A-Za-z0-9._-]``."""
    chosen = offered if offered is not None and _SHAPE.fullmatch(offered) else f"req-{secrets.token_hex(8)}"
    _current.set(chosen)
    return chosen
