"""The ed25519 key that signs heads and exports (RFC 8032): made at first use, sealed under the master key.

A key counts only when its sealed half opens and fits its public half: a row that somebody put into the table
without the master key proves nothing.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from guardhouse.audit.proof import store
from guardhouse.audit.proof.store import KeyRow
from guardhouse.foundation.database import Tx
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.seal import CannotOpen, MasterKey

PURPOSE: Final = "audit signing key"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that opens. ``id`` is the beginning of the SHA-256 of its public half."""

    id: str
    public: bytes
    created_at: datetime
    private: Ed25519PrivateKey = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the signature."""
        return self.private.sign(message)


async def current_key(tx: Tx, resources: Resources) -> SigningKey:
    """Return the key that signs now, made when there is none that opens."""
    found = _newest(await trusted_keys(tx, resources.master_key))
    if found is not None:
        return found
    await store.lock_keys(tx)
    found = _newest(await trusted_keys(tx, resources.master_key))  # made while we waited
    if found is not None:
        return found
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    made = SigningKey(hashlib.sha256(public).hexdigest()[:16], public, resources.clock.now(), private)
    await store.add_key(tx, KeyRow(made.id, public, _seal(resources.master_key, made), made.created_at))
    return made


async def reseal_keys(tx: Tx, master_key: MasterKey) -> None:
    """Seal every key under the newest generation, so that a rotation of the master key strands none."""
    for key in (await trusted_keys(tx, master_key)).values():
        await store.reseal_key(tx, key.id, _seal(master_key, key))


async def trusted_keys(tx: Tx, master_key: MasterKey) -> dict[str, SigningKey]:
    """Return every key of the table that this installation has made, by id."""
    found = (_open(master_key, row) for row in await store.list_keys(tx))
    return {key.id: key for key in found if key is not None}


def is_signed(keys: Mapping[str, SigningKey], key_id: str, message: bytes, signature: bytes) -> bool:
    """Tell whether one of our keys made a signature."""
    key = keys.get(key_id)
    if key is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _newest(keys: Mapping[str, SigningKey]) -> SigningKey | None:
    return max(keys.values(), key=lambda key: (key.created_at, key.id), default=None)


def _open(master_key: MasterKey, row: KeyRow) -> SigningKey | None:
    try:
        private = Ed25519PrivateKey.from_private_bytes(master_key.open(row.sealed, PURPOSE))
    except (CannotOpen, ValueError):
        return None
    if private.public_key().public_bytes_raw() != row.public_key:
        return None
    return SigningKey(row.key_id, row.public_key, row.created_at, private)


def _seal(master_key: MasterKey, key: SigningKey) -> bytes:
    return master_key.seal(key.private.private_bytes_raw(), PURPOSE)
