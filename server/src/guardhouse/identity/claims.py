"""The claims every signed token must have, whoever made it: in time, and meant for us (RFC 7519 §4.1)."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

SKEW_SECONDS: Final = 60
LATEST: Final = 1 << 40  # Unix seconds; no time beyond it is meant


class ClaimRefused(Exception):  # noqa: N818 - a judgement, not an error
    """A claim of a token with a good signature is not acceptable; the text may be told to its bearer."""


class ClaimExpired(ClaimRefused):
    """The token was good and its time is over."""


def check_times(claims: Mapping[str, Any], now: datetime) -> float:
    """Insist that a token is in force, and return when it ends (Unix seconds).

    Raises:
        ClaimExpired: it ended more than a minute ago.
        ClaimRefused: no ``exp``, or ``nbf`` or ``iat`` more than a minute ahead, or no number.
    """
    instant = now.timestamp()
    expires = _seconds(claims, "exp")
    if expires is None:
        raise ClaimRefused("the token has no exp")
    if expires + SKEW_SECONDS <= instant:
        raise ClaimExpired("the token has expired")
    for name in ("nbf", "iat"):
        begins = _seconds(claims, name)
        if begins is not None and begins - SKEW_SECONDS > instant:
            raise ClaimRefused(f"{name} is in the future")
    return expires


def check_audience(claims: Mapping[str, Any], accepted: Iterable[str]) -> None:
    """Insist that one of ``accepted`` is among the token's audiences.

    Raises:
        ClaimRefused: it is for others.
    """
    if not audiences(claims).intersection(accepted):
        raise ClaimRefused("the token is for another audience")


def audiences(claims: Mapping[str, Any]) -> set[str]:
    """Return the audiences a token names."""
    given = claims.get("aud")
    listed = given if isinstance(given, list) else [given]
    return {name for name in listed if isinstance(name, str)}


def text_claim(claims: Mapping[str, Any], name: str, longest: int = 255) -> str:
    """Return a claim that must be a text of 1 to ``longest`` characters, none of them NUL.

    Raises:
        ClaimRefused: it is something else.
    """
    value = claims.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= longest or "\0" in value or not _storable(value):
        raise ClaimRefused(f"{name} is not a text of 1 to {longest} characters")
    return value


def _storable(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < LATEST:
        raise ClaimRefused(f"{name} is not a number of seconds")
    return float(value)
