"""Text as it is scored: secrets out before anything is stored, one line of at most 8,192 bytes.

Every pattern is linear in the length of the text: no nested quantifiers, and what could start anywhere in a run may
only start where the run does.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

LONGEST: Final = 8192
"""Bytes of a line that are scored; the rest is represented by the class of its length."""
REDACTED: Final = "[REDACTED]"
SECRET_KEYS: Final = frozenset(
    (
        "password",
        "passwd",
        "token",
        "secret",
        "api_key",
        "jwt",
        "authorization",
        "cookie",
        "private_key",
    )
)
_SEPARATOR: Final = "\x1e"
_KEPT: Final = {0x09, 0x1E}
_CONTROLS: Final = bytes(c for c in [*range(0x20), 0x7F] if c not in _KEPT)
_CARD: Final = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")
_PEM: Final = re.compile(
    r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----[^-]*(?:-----END [A-Z ]{0,32}PRIVATE KEY-----)?"
)
_BEARER: Final = re.compile(r"\b(bearer)\s+[\w.~+/=-]{8,}", re.IGNORECASE)
_DECIMAL: Final = 10


def redact_text(text: str, patterns: Sequence[re.Pattern[str]] = ()) -> str:
    """Take card numbers, private keys, bearer tokens and a tenant's own patterns out of a text."""
    text = _CARD.sub(lambda found: "<card>" if _is_card(found[0]) else found[0], text)
    if "PRIVATE KEY" in text:
        text = _PEM.sub(REDACTED, text)
    text = _BEARER.sub(rf"\1 {REDACTED}", text)
    for pattern in patterns:
        text = pattern.sub(REDACTED, text)
    return text


def redact(value: Any, keys: frozenset[str] = SECRET_KEYS, patterns: Sequence[re.Pattern[str]] = ()) -> Any:
    """A copy of a JSON value without secrets; ``keys`` are compared in lower case, at any depth."""
    match value:
        case str():
            return redact_text(value, patterns)
        case Mapping():
            return {
                key: REDACTED if key.lower() in keys else redact(inner, keys, patterns)
                for key, inner in value.items()
            }
        case list() | tuple():
            return [redact(inner, keys, patterns) for inner in value]
    return value


def to_lines(texts: Sequence[str]) -> list[bytes]:
    """Texts as lines of bytes: UTF-8 with replacement, line ends as spaces, no control characters but the tab."""
    if not texts:
        return []
    joined = _SEPARATOR.join(texts)
    if joined.count(_SEPARATOR) != len(texts) - 1:
        joined = _SEPARATOR.join([text.replace(_SEPARATOR, "") for text in texts])
    raw = joined.replace("\r\n", " ").replace("\n", " ").replace("\r", " ").encode(errors="replace")
    lines = raw.translate(None, _CONTROLS).split(_SEPARATOR.encode())
    if len(raw) > LONGEST:
        lines = [line if len(line) <= LONGEST else _shortened(line) for line in lines]
    return lines


def is_truncated(line: bytes) -> bool:
    """Whether only the beginning of the text is scored."""
    return len(line) > LONGEST


def _shortened(line: bytes) -> bytes:
    return line[:LONGEST] + b"<+%d>" % (len(line) - LONGEST).bit_length()


def _is_card(text: str) -> bool:
    """Luhn's check (ISO/IEC 7812-1)."""
    digits = [int(c) for c in text if c.isdecimal()]
    doubled = (sum(divmod(2 * digit, _DECIMAL)) for digit in digits[-2::-2])
    return len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % _DECIMAL == 0
