"""The keys that sign access tokens: used for 90 days, published a day before their first use, kept while a token lives.

Whoever keeps our key set for up to a day always has the key of the token in hand. The newest key whose time has come
signs; when the worker was away too long, the one before it goes on rather than a stranger signing unannounced.
"""

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from guardhouse.foundation import logs
from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import Tx
from guardhouse.foundation.seal import CannotOpen, MasterKey
from guardhouse.identity import jws
from guardhouse.identity import store as identity_store
from guardhouse.identity.claims import SKEW_SECONDS
from guardhouse.identity.tokens import store
from guardhouse.identity.tokens.store import StoredKey

ALGORITHM: Final = "ES256"
LIFE: Final = timedelta(days=90)
AHEAD: Final = timedelta(hours=24)
LONGEST_TOKEN_SECONDS: Final = 3600
_COORDINATE_BYTES: Final = 32
_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key ready to sign; ``private`` is None when the master key that sealed it is not here."""

    kid: str
    private: ec.EllipticCurvePrivateKey | None = field(repr=False)
    public_jwk: dict[str, Any]
    use_from: datetime


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Every published key, first use first."""

    keys: tuple[SigningKey, ...]
    public: jws.KeySet

    def current(self, now: datetime) -> SigningKey | None:
        """Return the key that signs now: the newest whose time has come."""
        ready = [key for key in self.keys if key.use_from <= now and key.private is not None]
        return ready[-1] if ready else None

    def document(self) -> dict[str, Any]:
        """Return the JWK Set (RFC 7517) that verifiers read."""
        return {"keys": [key.public_jwk for key in self.keys]}


async def load_ring(tx: Tx, master_key: MasterKey) -> KeyRing:
    """Return the stored keys, opened."""
    keys = tuple(_opened(stored, master_key) for stored in await store.list_signing_keys(tx))
    public = tuple(
        jws.PublicKey(key.kid, jws.ALGORITHMS[ALGORITHM], ALGORITHM, _public_of(key.public_jwk))
        for key in keys
    )
    return KeyRing(keys, jws.KeySet(public))


async def keep_keys(tx: Tx, clock: Clock, master_key: MasterKey) -> KeyRing:
    """Make the key that is due, drop those that no living token needs, and return what stands; safe to repeat."""
    await store.lock_signing_keys(tx)
    now, ring = clock.now(), await load_ring(tx, master_key)
    due, done = plan(ring.keys, now)
    if due is not None:
        await store.add_signing_key(tx, _new_key(master_key, now, due))
    if done:
        await store.delete_signing_keys(tx, done)
    if due is None and not done:
        return ring
    await identity_store.notify_change(tx)
    return await load_ring(tx, master_key)


def plan(keys: Sequence[SigningKey], now: datetime) -> tuple[datetime | None, list[str]]:
    """Return from when a key to be made now should sign (None: none is due), and the ids of keys to drop."""
    done = [
        older.kid
        for older, newer in pairwise(keys)
        if newer.private is not None
        and newer.use_from + timedelta(seconds=LONGEST_TOKEN_SECONDS + SKEW_SECONDS) < now
    ]
    usable = [key for key in keys if key.private is not None]
    if not any(key.use_from <= now for key in usable):
        return now, done
    ends = usable[-1].use_from + LIFE
    return (max(ends, now + AHEAD) if ends - now <= 2 * AHEAD else None), done


def _new_key(master_key: MasterKey, now: datetime, use_from: datetime) -> StoredKey:
    private = ec.generate_private_key(ec.SECP256R1())
    numbers = private.public_key().public_numbers()
    public = {"crv": "P-256", "kty": "EC", "x": _coordinate(numbers.x), "y": _coordinate(numbers.y)}
    kid = _thumbprint(public)
    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    jwk = public | {"kid": kid, "alg": ALGORITHM, "use": "sig"}
    return StoredKey(kid, jwk, master_key.seal(der, _purpose(kid)), now, use_from)


def _opened(stored: StoredKey, master_key: MasterKey) -> SigningKey:
    private: ec.EllipticCurvePrivateKey | None = None
    try:
        loaded = load_der_private_key(master_key.open(stored.sealed, _purpose(stored.kid)), None)
        private = loaded if isinstance(loaded, ec.EllipticCurvePrivateKey) else None
    except CannotOpen:
        _log.warning("signing_key_sealed_by_another_master_key", kid=stored.kid)
    return SigningKey(stored.kid, private, stored.public_jwk, stored.use_from)


def _public_of(jwk: dict[str, Any]) -> Any:
    return jws.key_set({"keys": [jwk]}).keys[0].loaded


def _thumbprint(public: dict[str, str]) -> str:
    """Return the RFC 7638 thumbprint of a public key's required members, which are given in order."""
    return _encode(hashlib.sha256(json.dumps(public, separators=(",", ":")).encode()).digest())


def _coordinate(number: int) -> str:
    return _encode(number.to_bytes(_COORDINATE_BYTES))


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _purpose(kid: str) -> str:
    return f"oauth signing key {kid}"
