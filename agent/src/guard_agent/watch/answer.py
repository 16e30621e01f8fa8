"""Judge the server's answer to a batch: what is stored, when to try again, what a person has to put right."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final

MAX_RETRY_AFTER_SECONDS: Final = 3600.0
SKEW_TOLD_FROM_SECONDS: Final = 30.0
SKEW_REFUSED_FROM_SECONDS: Final = 120.0
_TRY_AGAIN: Final = frozenset((408, 425, 429, 500, 502, 503, 504, 507))
_DETAIL_CHARACTERS: Final = 300
_DIGITS: Final = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Named:
    """A 207 that names every event: `stored` new ones, `duplicates`, `refused` ones by error code."""

    stored: int
    duplicates: int
    refused: dict[str, int] = field(default_factory=dict)
    example: str | None = None


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Try the same batch again, not before `after_seconds` when the server said so."""

    reason: str
    after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class TooLarge:
    """Send the batch in smaller parts."""


@dataclass(frozen=True, slots=True)
class OtherCoding:
    """The server does not know the compression."""


@dataclass(frozen=True, slots=True)
class OtherKey:
    """The server knows the batch's key with another body."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A person has to act; the spool is kept. `reason` says what is wrong and what to do."""

    reason: str


_MULTI_STATUS: Final = 207
_UNAUTHORIZED: Final = 401
_SERVER_ERRORS: Final = 500
_BY_CODE: Final[dict[tuple[int, str | None], TooLarge | OtherCoding | OtherKey]] = {
    (409, "idempotency_key_reused"): OtherKey(),
    (413, None): TooLarge(),
    (415, "unsupported_coding"): OtherCoding(),
}
_ENROL: Final = "enrol this host again with `guardhouse-agent enroll`"
_REMEDIES: Final = {
    200: "only a 207 names what is stored; check --server",
    202: "only a 207 names what is stored; check --server",
    401: f"this key may be revoked or belong to another server; {_ENROL}",
    403: f"this key may not report here; {_ENROL}",
    404: "there is no Guardhouse at this address; check --server",
    405: "there is no Guardhouse at this address; check --server",
}

Verdict = Named | TryAgain | TooLarge | OtherCoding | OtherKey | Refused


def judge(answer: Answer, sent: int, *, now: float) -> Verdict:
    """Return what to do about a batch of `sent` events; `now` is in seconds since the epoch."""
    if answer.status == _MULTI_STATUS:
        return _named(answer, sent)
    code, detail = _problem(answer)
    said = f"{answer.status}{f' {code}' if code else ''}{f': {detail}' if detail else ''}"
    known = _BY_CODE.get((answer.status, code)) or _BY_CODE.get((answer.status, None))
    if known is not None:
        return known
    if answer.status in _TRY_AGAIN or answer.status >= _SERVER_ERRORS or code == "idempotency_in_progress":
        return TryAgain(f"the server answered {said}", _retry_after(answer, now))
    return Refused(_remedy(answer, said, now))


def clock_skew_seconds(answer: Answer, now: float) -> float | None:
    """Return how far the server's clock is ahead of ours, from its Date header (1 s coarse)."""
    date = _http_date(answer.headers.get("date"))
    return None if date is None else date - now


def _remedy(answer: Answer, said: str, now: float) -> str:
    """Say what is wrong with a refused batch and what a person can do about it."""
    skew = clock_skew_seconds(answer, now) or 0.0
    if answer.status == _UNAUTHORIZED and abs(skew) >= SKEW_REFUSED_FROM_SECONDS:
        return (
            f"the server refused the signature ({said}) and its clock is {skew:+.0f} s off ours: set this"
            " machine's clock, signatures hold for 300 s"
        )
    if answer.status in (301, 302, 303, 307, 308):
        place = _printable(answer.headers.get("location", "elsewhere"))
        return f"the server redirects to {place}: use that address as --server"
    remedy = _REMEDIES.get(answer.status, "the events stay on disk: report this with the agent's version")
    return f"the server refused the batch ({said}): {remedy}"


def _named(answer: Answer, sent: int) -> Verdict:
    try:
        document = json.loads(answer.body)
        accepted, duplicates = int(document["accepted"]), int(document["duplicates"])
        errors = int(document["errors"])
        results = document.get("results", [])
        refused, example = _errors(results)
    except (ValueError, TypeError, KeyError, AttributeError):
        return TryAgain("the server's 207 cannot be read")
    if min(accepted, duplicates, errors) < 0 or accepted + duplicates + errors != sent:
        return TryAgain(f"the server's 207 names {accepted + duplicates + errors} events of {sent}")
    unnamed = errors - sum(refused.values())
    if unnamed < 0:
        return TryAgain("the server's 207 contradicts itself about errors")
    if unnamed:
        refused["unnamed"] = unnamed
    return Named(accepted, duplicates, refused, example)


def _errors(results: list[Any]) -> tuple[dict[str, int], str | None]:
    refused: dict[str, int] = {}
    example = None
    for result in results:
        if result.get("status") != "error":
            continue
        error = result.get("error") or {}
        code = _printable(str(error.get("code", "unnamed")))[:64]
        refused[code] = refused.get(code, 0) + 1
        if example is None:
            example = _printable(f"{error.get('field') or ''} {error.get('detail') or ''}".strip())
    return refused, example


def _problem(answer: Answer) -> tuple[str | None, str | None]:
    """Return (code, detail) of a problem+json body, printable and short."""
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None, None
    if not isinstance(document, dict):
        return None, None
    code, detail = document.get("code"), document.get("detail") or document.get("title")
    return (
        _printable(code)[:64] if isinstance(code, str) else None,
        _printable(detail) if isinstance(detail, str) else None,
    )


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:_DETAIL_CHARACTERS])


def _retry_after(answer: Answer, now: float) -> float | None:
    value = answer.headers.get("retry-after", "").strip()
    if value.isdecimal() and len(value) < _DIGITS:
        return min(float(value), MAX_RETRY_AFTER_SECONDS)
    date = _http_date(value)
    return None if date is None else min(max(0.0, date - now), MAX_RETRY_AFTER_SECONDS)


def _http_date(value: str | None) -> float | None:
    if not value:
        return None
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError, OSError, IndexError):
        return None
