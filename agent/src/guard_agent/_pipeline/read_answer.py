"""What an answer of the server means for the batch that was sent: one verdict per answer."""

import json
import re
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

_OK: Final = 200
_REDIRECTS: Final = 300
_KEY_REFUSED: Final = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
)
_NO_DOOR: Final = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
_LONGEST_WAIT: Final = 3600.0
_REMAINING: Final = re.compile(r"(?:^|[;,\s])(?:r|remaining)=(\d+)")
_RESET: Final = re.compile(r"(?:^|[;,\s])(?:t|reset)=(\d+)")


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer: status, headers with lower-case names, and the whole body."""

    status: int
    headers: dict[str, str]
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The server has the items; `rejections` are those it refused, by their place in the batch."""

    delivered: int
    duplicates: int = 0
    rejections: list[tuple[int, str, str]] = field(default_factory=list)
    unlisted: int = 0
    """Rejected items that the answer does not name."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Something in the batch is wrong (`too_large`: it is its size); smaller ones find out what."""

    code: str
    detail: str
    too_large: bool = False


@dataclass(frozen=True, slots=True)
class KeyRefused:
    """The credentials are not accepted."""

    detail: str


@dataclass(frozen=True, slots=True)
class NoSuchDoor:
    """The endpoint is not what it should be; `location` is what it offered instead."""

    detail: str
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """The server is there and wants to be left alone for `seconds`."""

    seconds: float
    detail: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """The id of the batch is taken by other bytes."""

    detail: str


@dataclass(frozen=True, slots=True)
class Transient:
    """It may work later; `slow_down`: the server had too much. `foreign`: it answered, and said that it failed."""

    detail: str
    slow_down: bool = False
    foreign: bool = False


Verdict = Delivered | Refused | KeyRefused | NoSuchDoor | Wait | Conflict | Transient


def read_answer(reply: Reply, count: int) -> Verdict:  # noqa: PLR0911 - one line per row of the table
    """Return what an answer to a batch of `count` items means."""
    status, detail = reply.status, _detail(reply)
    if _OK <= status < _REDIRECTS:
        return _accepted(reply, count)
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY):
        return Refused(_code(reply), detail)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return Refused(_code(reply), detail, too_large=True)
    if status in _KEY_REFUSED:
        return KeyRefused(detail)
    if _REDIRECTS <= status < HTTPStatus.BAD_REQUEST or status in _NO_DOOR:
        return NoSuchDoor(detail, reply.headers.get("location"))
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        seconds = retry_after(reply.headers.get("retry-after"))
        return Transient(detail, slow_down=True) if seconds is None else Wait(seconds, detail)
    if status == HTTPStatus.CONFLICT:
        return Conflict(detail)
    return Transient(detail)


def retry_after(value: str | None) -> float | None:
    """Return the seconds that a `Retry-After` of seconds or a date asks for, at most an hour; None without one."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return min(_LONGEST_WAIT, max(0.0, seconds)) if seconds == seconds else None  # noqa: PLR0124 - NaN


def rate_limit(headers: dict[str, str]) -> tuple[int, float] | None:
    """Return how many requests are left and the seconds until there are more, where the answer says both."""
    told = headers.get("ratelimit", "")
    remaining = _number(_REMAINING, told) or headers.get("x-ratelimit-remaining")
    reset = _number(_RESET, told) or headers.get("x-ratelimit-reset")
    try:
        left, seconds = int(remaining or ""), float(reset or "")
    except ValueError:
        return None
    if seconds > time.time() / 2:  # a moment, not a span
        seconds -= time.time()
    return left, min(_LONGEST_WAIT, max(0.0, seconds))


def _accepted(reply: Reply, count: int) -> Verdict:
    try:
        body = json.loads(reply.content) if reply.content else {}
    except (ValueError, RecursionError):
        if "html" in reply.headers.get("content-type", "") or reply.content.lstrip()[:1] == b"<":
            return Transient("a page came back instead of an answer: a proxy or a portal is in the way")
        body = {}
    if not isinstance(body, dict):
        return Delivered(count)
    if body.get("success") is False or body.get("errors"):
        return Transient(f"the server answered {reply.status} and says that it failed", foreign=True)
    return _counted(body, count)


def _counted(body: dict[str, Any], count: int) -> Delivered:
    """Return the outcome of each item; counts that do not add up are corrected towards `delivered`."""
    rejections = []
    listed = body.get("rejections")
    for entry in listed if isinstance(listed, list) else ():
        index = entry.get("index") if isinstance(entry, dict) else None
        if isinstance(index, int) and 0 <= index < count:
            rejections.append((index, str(entry.get("code")), str(entry.get("detail"))))
    rejected = min(count, max(len(rejections), _count(body, "rejected")))
    rejections = rejections[:rejected]
    duplicates = min(count - rejected, _count(body, "duplicates"))
    return Delivered(count - rejected - duplicates, duplicates, rejections, rejected - len(rejections))


def _count(body: dict[str, Any], name: str) -> int:
    value = body.get(name)
    return value if isinstance(value, int) and value > 0 else 0


def _number(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return found.group(1) if found else None


def _problem(reply: Reply) -> dict[str, Any]:
    try:
        body = json.loads(reply.content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _code(reply: Reply) -> str:
    return str(_problem(reply).get("code") or f"http_{reply.status}")


def _detail(reply: Reply) -> str:
    problem = _problem(reply)
    said = problem.get("detail") or problem.get("title") or problem.get("code")
    return f"{reply.status} {said}"[:300] if said else str(reply.status)
