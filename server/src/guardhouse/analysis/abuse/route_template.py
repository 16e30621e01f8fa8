"""The route behind a raw path: what varies from call to call is replaced by what kind of thing it is; pure."""

import re
from functools import lru_cache
from typing import Final

MAX_SEGMENTS: Final = 20
MAX_LENGTH: Final = 200
NOWHERE: Final = ""
_ORIGIN: Final = re.compile(r"^[a-z][a-z0-9+.-]*://[^/?#]*", re.IGNORECASE)
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_DIGITS: Final = re.compile(r"[0-9]+", re.ASCII)
_HEX: Final = re.compile(r"[0-9a-f]{16,}", re.IGNORECASE)


@lru_cache(maxsize=8192)
def route_of(endpoint: str) -> str:
    """Return the route of an endpoint: ``/items/17?x=1`` is ``/items/{n}``.

    Digits become ``{n}``, UUIDs ``{uuid}``, 16 hexadecimal digits or more ``{hex}``; query and host are left out.
    What has no path is the empty route.
    """
    path = _ORIGIN.sub("", endpoint, count=1).partition("?")[0].partition("#")[0]
    if not path.startswith("/"):
        return NOWHERE
    segments = [_kind(segment) for segment in path.split("/")[1 : MAX_SEGMENTS + 1]]
    return ("/" + "/".join(segments))[:MAX_LENGTH]


def _kind(segment: str) -> str:
    if _DIGITS.fullmatch(segment):
        return "{n}"
    if _UUID.fullmatch(segment):
        return "{uuid}"
    return "{hex}" if _HEX.fullmatch(segment) else segment
