# This module belongs to guardhouse-agent.
"""End-to-end encryption of payloads: AES-256-GCM under the key of the project.

An encrypted payload is base64url(nonce 12 ‖ ciphertext ‖ tag 16), without associated data unless the caller gives some.
Needs `cryptography` (extra `encryption`), loaded when the first encryptor is made.
"""

import base64
import binascii
import json
import os
from typing import Any

_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16


class EncryptionError(Exception):
    """A key that is none, a payload that cannot be encrypted, or one that this key does not open."""


class EncryptionConfigError(RuntimeError):
    """Encryption is configured and cannot work, so nothing may be sent: plaintext is no fallback."""


class PayloadEncryptor:
    """Seals and opens payloads with one project key (32 bytes, base64 or base64url, padding optional)."""

    def __init__(self, project_key: str) -> None:
        if not project_key:
            raise EncryptionError("Project key cannot be empty")
        key = _decode_key(project_key)
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - an optional dependency
        except ImportError as error:
            raise EncryptionConfigError(
                "project_encryption_key is set and the package `cryptography` is missing: "
                "pip install 'guardhouse-agent[encryption]'"
            ) from error
        self._cipher = AESGCM(key)

    def encrypt(self, data: dict[str, Any], associated_data: str | None = None) -> str:
        """Return `data` as JSON, encrypted; `associated_data` is authenticated and not sent."""
        try:
            plaintext = json.dumps(data, default=_as_json, separators=(",", ":")).encode()
        except (TypeError, ValueError) as error:
            raise EncryptionError(f"Failed to encrypt payload: {error}") from error
        return self.seal(plaintext, associated_data)

    def decrypt(self, encrypted_data: str, associated_data: str | None = None) -> dict[str, Any]:
        """Return what `encrypt` was given; raise `EncryptionError` for anything else."""
        plaintext = self.unseal(encrypted_data, associated_data)
        try:
            data = json.loads(plaintext)
        except ValueError as error:
            raise EncryptionError("The payload is no JSON") from error
        if not isinstance(data, dict):
            raise EncryptionError("The payload is no JSON object")
        return data

    def seal(self, plaintext: bytes, associated_data: str | None = None) -> str:
        """Return base64url(nonce ‖ ciphertext ‖ tag) of `plaintext`, under a fresh nonce."""
        nonce = os.urandom(_NONCE_BYTES)
        return base64.urlsafe_b64encode(
            nonce + self._cipher.encrypt(nonce, plaintext, _bytes_of(associated_data))
        ).decode("ascii")

    def unseal(self, sealed: str, associated_data: str | None = None) -> bytes:
        """Return the plaintext of what `seal` returned; raise `EncryptionError` where it was not this key's."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - an optional dependency

        try:
            raw = _decode(sealed)
        except (ValueError, binascii.Error) as error:
            raise EncryptionError("Invalid or tampered payload") from error
        if len(raw) < _NONCE_BYTES + _TAG_BYTES:
            raise EncryptionError("Invalid or tampered payload")
        nonce, ciphertext = raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, ciphertext, _bytes_of(associated_data))
        except InvalidTag as error:
            raise EncryptionError("Invalid or tampered payload") from error

    def verify_key(self) -> bool:
        """Tell whether this encryptor opens what it seals."""
        probe = os.urandom(16)
        return self.unseal(self.seal(probe)) == probe


def create_encryptor(project_key: str | None) -> PayloadEncryptor | None:
    """Return the encryptor of `project_key`, or None without one.

    Raises:
        EncryptionError: the key is no 32 bytes of base64.
        EncryptionConfigError: the extra `encryption` is not installed.
    """
    return PayloadEncryptor(project_key) if project_key else None


def _decode_key(text: str) -> bytes:
    try:
        key = _decode(text)
    except (ValueError, binascii.Error) as error:
        raise EncryptionError(f"Invalid project key format: {error}") from error
    if len(key) != _KEY_BYTES:
        raise EncryptionError(f"Invalid key size: {len(key)} bytes, expected {_KEY_BYTES}")
    return key


def _decode(text: str) -> bytes:
    """Return the bytes of base64 or base64url with or without padding."""
    ready = text.strip().rstrip("=").translate(str.maketrans("-_", "+/"))
    return base64.b64decode(ready + "=" * (-len(ready) % 4), validate=True)


def _bytes_of(associated_data: str | None) -> bytes | None:
    return associated_data.encode() if associated_data else None


def _as_json(value: Any) -> str:
    """Return times and UUIDs as text; what else JSON does not know is refused."""
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if type(value).__name__ == "UUID":
        return str(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
