"""Secrets at rest: AES-256-GCM under the master key, bound to what they are for.

Two generations may live during a rotation; the first seals, both open. Sealed form: one byte of version,
eight bytes that name the key (SHA-256 of it, cut), a 12-byte nonce, then ciphertext and tag.
"""

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = b"\x01"
_NAME_BYTES = 8
_NONCE_BYTES = 12
KEY_BYTES = 32


class CannotOpen(Exception):  # noqa: N818 - the seal is intact, the key is not here
    """The secret was sealed under a master key that is not configured, or its bytes were changed."""


@dataclass(frozen=True, slots=True)
class MasterKey:
    """One or two generations of 32 bytes; the first seals."""

    generations: Sequence[bytes] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "MasterKey":
        """Read base64url keys separated by commas.

        Raises:
            ValueError: a part is not 32 bytes of base64url.
        """
        keys = [
            base64.urlsafe_b64decode(part.strip() + "=" * (-len(part.strip()) % 4))
            for part in text.split(",")
        ]
        if any(len(key) != KEY_BYTES for key in keys):
            raise ValueError("a master key is 32 bytes of base64url")
        return cls(tuple(keys))

    def derived(self, purpose: bytes) -> list[bytes]:
        """Return keys for one purpose, one per generation: the first signs, all verify."""
        return [hashlib.sha256(purpose + key).digest() for key in self.generations]

    def seal(self, secret: bytes, purpose: str) -> bytes:
        """Return the sealed form; ``purpose`` is authenticated with it and must be given again to open."""
        key = self.generations[0]
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + _name(key) + nonce + AESGCM(key).encrypt(nonce, secret, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """Return the secret.

        Raises:
            CannotOpen: no configured generation opens it for this purpose.
        """
        name, rest = sealed[1 : 1 + _NAME_BYTES], sealed[1 + _NAME_BYTES :]
        for key in self.generations:
            if _name(key) == name and sealed[:1] == _VERSION:
                try:
                    return AESGCM(key).decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], purpose.encode())
                except (InvalidTag, ValueError):  # ValueError: cut inside the nonce
                    break
        raise CannotOpen(purpose)


def _name(key: bytes) -> bytes:
    return hashlib.sha256(b"guardhouse master key" + key).digest()[:_NAME_BYTES]
