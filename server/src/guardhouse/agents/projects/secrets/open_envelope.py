"""Sealed envelopes: AES-256-GCM over a batch, as base64url of nonce (12 bytes), ciphertext and tag (16), no AAD."""

import base64
import binascii
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from guardhouse.foundation.errors import Problem

NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
SHORTEST: Final = NONCE_BYTES + TAG_BYTES
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


class EnvelopeMalformed(Problem):
    """The sealed payload is no base64url, or too short to be one. ``raw`` is the body that it stands in."""

    status, code, title = 400, "envelope_malformed", "Envelope malformed"
    remediation = "Send `encrypted_payload` as base64url of nonce, ciphertext and tag of AES-256-GCM."
    raw = b""


def read_payload(text: object) -> bytes:
    """Return the bytes of `encrypted_payload`; padding is optional.

    Raises:
        EnvelopeMalformed: it is not base64url, or shorter than nonce and tag.
    """
    if not isinstance(text, str) or not text.isascii():
        raise EnvelopeMalformed("`encrypted_payload` is not base64url.")
    plain = text.encode().strip().rstrip(b"=").translate(_URL_SAFE)
    try:
        payload = base64.b64decode(plain + b"=" * (-len(plain) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise EnvelopeMalformed("`encrypted_payload` is not base64url.") from None
    if len(payload) < SHORTEST:
        raise EnvelopeMalformed(f"`encrypted_payload` is {len(payload)} bytes; {SHORTEST} are the least.")
    return payload


def open_envelope(payload: bytes, keys: Sequence[tuple[UUID, bytes]]) -> tuple[bytes, UUID] | None:
    """Return what a payload holds, and the id of the key that opened it; None when none of the keys does."""
    for key_id, key in keys:
        try:
            return AESGCM(key).decrypt(payload[:NONCE_BYTES], payload[NONCE_BYTES:], None), key_id
        except InvalidTag:
            continue
    return None
