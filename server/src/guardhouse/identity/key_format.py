"""The form of an API key: ``gh_live_`` or ``gh_test_``, 32 base62 characters, ``_``, 8 of checksum.

The checksum lets a mistyped or foreign key be refused without a look-up, and lets scanners find leaked keys.
"""

import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # engine processes know the form of keys and nothing of a database
    from guardhouse.foundation.resources import Pepper

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SECRET_LENGTH: Final = 32
CHECKSUM_LENGTH: Final = 8
PREFIX_LENGTH: Final = 16
LENGTH: Final = len("gh_live_") + SECRET_LENGTH + 1 + CHECKSUM_LENGTH
SHAPE: Final = re.compile(r"gh_(?:live|test)_[0-9A-Za-z]{32}_[0-9A-Za-z]{8}")
_SHAPE_BYTES: Final = re.compile(SHAPE.pattern.encode())


def new_key(env: str) -> str:
    """Return a fresh key of ``env`` live or test: 190 bits from the operating system."""
    body = f"gh_{env}_" + "".join(secrets.choice(ALPHABET) for _ in range(SECRET_LENGTH))
    return f"{body}_{checksum(body)}"


def checksum(body: str) -> str:
    """Return the 8 characters for everything before the last ``_``: SHA-256, 8 bytes, mod 62^8, base62."""
    number = int.from_bytes(hashlib.sha256(body.encode()).digest()[:8]) % len(ALPHABET) ** CHECKSUM_LENGTH
    digits = []
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def well_formed(key: str) -> bool:
    """Tell whether a text has the form and the checksum of a key."""
    return len(key) == LENGTH and SHAPE.fullmatch(key) is not None and checksum(key[:-9]) == key[-8:]


def find_keys(text: str) -> list[str]:
    """Return every key that stands in a text."""
    return [found for found in SHAPE.findall(text) if well_formed(found)]


def hide_keys(data: bytes) -> bytes:
    """Return bytes with every key in them cut to what is shown of one: an answer does not repeat what it was sent."""
    return _SHAPE_BYTES.sub(lambda found: found[0][:PREFIX_LENGTH] + b"***", data) if b"gh_" in data else data


def digest(pepper: "Pepper", key: str) -> bytes:
    """Return what is stored of a key: HMAC-SHA256 under a pepper."""
    return hmac.digest(pepper.value, key.encode(), "sha256")
