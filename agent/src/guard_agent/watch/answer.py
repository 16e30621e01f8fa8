"""Judge the server's answer to a batch: what is stored, when to try again, what a person has to put right."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final

MAX_RETRY_AFTER_SECONDS: Final = 3600.0
SKEW_TOLD_FROM_SECONDS: Final = 30.0
_TRY_AGAIN: Final = frozenset((408, 425, 429, 500, 502, 503, 504, 507))
_DETAIL_CHARACTERS: Final = 300


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


Verdict = Named | TryAgain | TooLarge | OtherCoding | OtherKey | Refused


def judge(answer: Answer, sent: int, *, now: float) -> Verdict:
    """Return what to do about a batch of `sent` events; `now` is the local time in seconds since the epoch."""
    code, detail = _problem(answer)
    said = f"{answer.status}{f' {code}' if code else ''}{f': {detail}' if detail else ''}"
    if answer.status == 207:  # noqa: PLR2004 -- Multi-Status, the only success of this route
        return _named(answer, sent)
    if answer.status in _TRY_AGAIN or (answer.status == 409 and code == "idempotency_in_progress"):  # noqa: PLR2004 -- Conflict
        return TryAgain(f"the server answered {said}", _retry_after(answer, now))
    if answer.status == 413:  # noqa: PLR2004 -- Content Too Large
        return TooLarge()
    if answer.status == 415 and code in (None, "unsupported_coding"):  # noqa: PLR2004 -- Unsupported Media Type
        return OtherCoding()
    if answer.status == 409 and code == "idempotency_key_reused":  # noqa: PLR2004 -- Conflict
        return OtherKey()
    if answer.status >= 500:  # noqa: PLR2004 -- server errors
        return TryAgain(f"the server answered {said}", _retry_after(answer, now))
    return Refused(_remedy(answer, said, now))


def clock_skew_seconds(answer: Answer, now: float) -> float | None:
    """Return how far the server's clock is ahead of ours, from its Date header (1 s coarse); None without one."""
    date = _http_date(answer.headers.get("date"))
    return None if date is None else date - now


def _remedy(answer: Answer, said: str, now: float) -> str:
    if answer.status == 401:  # noqa: PLR2004 -- Unauthorized
        skew = clock_skew_seconds(answer, now)
        if skew is not None and abs(skew) >= SKEW_TOLD_FROM_SECONDS * 4:
            return (
                f"the server refused the signature ({said}) and its clock is {skew:+.0f} s off ours;"
                " set this machine's clock (signatures hold for 300 s)"
            )
        return (
            f"the server refused this agent's key ({said}); it may be revoked or belong to another server:"
            " enrol again with `guardhouse-agent enroll`"
        )
    if answer.status == 403:  # noqa: PLR2004 -- Forbidden
        return f"this key may not report here ({said}); enrol this host with `guardhouse-agent enroll`"
    if answer.status in (301, 302, 303, 307, 308):
        return f"the server redirects to {answer.headers.get('location', 'elsewhere')[:200]}; use that address as --server"
    if answer.status in (404, 405):
        return f"there is no Guardhouse event door at this address ({said}); check --server"
    if 200 <= answer.status < 300:  # noqa: PLR2004 -- a success that is not a 207
        return f"the server answered {answer.status} where only 207 names what it stored; check --server"
    return f"the server refuses the batch ({said}); the events stay on disk: report this with the agent's version"


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
    if value.isdecimal() and len(value) <= 9:  # noqa: PLR2004 -- digits of a sane number of seconds
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
