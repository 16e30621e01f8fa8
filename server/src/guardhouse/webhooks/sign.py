"""Signatures of a message: Standard Webhooks v1 (HMAC-SHA256) and v1a (ed25519), and the older body-only header.

The bytes signed are the bytes sent: the body comes in as stored and is never serialised again.
"""

import base64
import binascii
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the public prefix of the standard
PRIVATE_PREFIX: Final = "whsk_"
PUBLIC_PREFIX: Final = "whpk_"
SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """What one endpoint signs with: HMAC keys, the newest first, and the ed25519 key where it is asymmetric."""

    symmetric: Sequence[bytes] = field(repr=False)
    private: Ed25519PrivateKey | None = field(default=None, repr=False)


def new_secret() -> str:
    """Return a fresh secret in the standard's form: ``whsec_`` and 32 bytes in base64."""
    return SECRET_PREFIX + base64.b64encode(os.urandom(SECRET_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """Return the HMAC key of a secret: the decoded bytes of ``whsec_…``, else the text's own UTF-8 bytes."""
    if secret.startswith(SECRET_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        except binascii.Error:
            pass  # a text of the client's own that happens to begin so
    return secret.encode()


def new_private_key() -> tuple[bytes, str]:
    """Return a fresh ed25519 key as 32 bytes, and its public half as ``whpk_…``."""
    private = Ed25519PrivateKey.generate()
    public = PUBLIC_PREFIX + base64.b64encode(private.public_key().public_bytes_raw()).decode()
    return private.private_bytes_raw(), public


def webhook_id(message_id: UUID) -> str:
    """Return the id that receivers see: the same for every try, retry and replay of a message."""
    return f"msg_{message_id.hex}"


def signed_content(sent_id: str, timestamp: int, body: bytes) -> bytes:
    """Return the exact bytes that are signed (Standard Webhooks 1.0, "Signature scheme")."""
    return f"{sent_id}.{timestamp}.".encode() + body


def signature(keys: SigningKeys, sent_id: str, timestamp: int, body: bytes) -> str:
    """Return ``webhook-signature``: a ``v1`` token per live secret, newest first, then ``v1a`` where there is a key."""
    content = signed_content(sent_id, timestamp, body)
    tokens = [
        "v1," + base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys.symmetric
    ]
    if keys.private is not None:
        tokens.append("v1a," + base64.b64encode(keys.private.sign(content)).decode())
    return " ".join(tokens)


def body_signature(key: bytes, body: bytes) -> str:
    """Return ``x-signature``: the hex HMAC of the body alone, for receivers that know only that."""
    return "sha256=" + hmac.digest(key, body, "sha256").hex()
