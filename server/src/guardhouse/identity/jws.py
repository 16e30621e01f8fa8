"""Signed JSON (RFC 7515) as this house reads it: four public-key algorithms, the key chosen by us, nothing else.

``none`` and HMAC do not exist here, a header can bring no key of its own (``jku``, ``jwk`` and ``x5u`` are not
read), and an algorithm is used only with the kind of key it belongs to.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jwt
from jwt.exceptions import PyJWTError

MAX_BYTES: Final = 8 << 10
MAX_KEYS: Final = 50
MIN_RSA_BITS: Final = 2048
ALGORITHMS: Final[
    Mapping[str, tuple[str, str | None]]
] = {  # algorithm: key type and curve (RFC 7518, RFC 8037)
    "ES256": ("EC", "P-256"),
    "RS256": ("RSA", None),
    "PS256": ("RSA", None),
    "EdDSA": ("OKP", "Ed25519"),
}
_SHAPE: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "k", "oth"})
_JWS: Final = jwt.PyJWS()


class NotOpened(Exception):  # noqa: N818 - the token stays shut
    """The token cannot be believed: malformed, signed by nobody known, or not as its key demands."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A token as it came, nothing of it verified."""

    text: str
    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    @property
    def kid(self) -> str | None:
        """The key id the header names, if it is a text."""
        kid = self.header.get("kid")
        return kid if isinstance(kid, str) else None

    @property
    def algorithm(self) -> str:
        """The algorithm the header names; whether it is allowed is for :func:`open_with`."""
        return str(self.header.get("alg"))


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One public key of a set (RFC 7517)."""

    kid: str | None
    kind: tuple[str, str | None]
    algorithm: str | None
    loaded: Any


@dataclass(frozen=True, slots=True)
class KeySet:
    """The public signing keys of one party."""

    keys: tuple[PublicKey, ...]

    def pick(self, sealed: Sealed) -> PublicKey | None:
        """Return the key that may have signed this token, by key id, or the only one that fits when it names none."""
        fitting = [key for key in self.keys if _fits(key, sealed.algorithm)]
        if sealed.kid is not None:
            return next((key for key in fitting if key.kid == sealed.kid), None)
        return fitting[0] if len(fitting) == 1 else None


def looks_like_token(text: str) -> bool:
    """Tell whether a text is three base64url parts; says nothing about what is in them."""
    return _SHAPE.fullmatch(text) is not None


def read(text: str) -> Sealed:
    """Return a token's header and claims, believed by nobody yet.

    Raises:
        NotOpened: over 8 KiB, not three parts of base64url JSON objects, or a ``crit`` header (RFC 7515 §4.1.11).
    """
    if len(text) > MAX_BYTES:
        raise NotOpened("over 8 KiB")
    try:
        taken = _JWS.decode_complete(text, options={"verify_signature": False})
        claims = json.loads(taken["payload"])
    except (PyJWTError, ValueError, RecursionError) as error:
        raise NotOpened("not a token") from error
    header = taken["header"]
    if not isinstance(claims, dict):
        raise NotOpened("the claims are not an object")
    if "crit" in header or "b64" in header:
        raise NotOpened("critical extensions")
    return Sealed(text, header, claims)


def open_with(sealed: Sealed, keys: KeySet, algorithms: Iterable[str]) -> Mapping[str, Any]:
    """Return the claims of a token once its signature is good.

    Raises:
        NotOpened: another algorithm, no such key, or a wrong signature.
    """
    algorithm = sealed.algorithm
    if algorithm not in ALGORITHMS or algorithm not in algorithms:
        raise NotOpened("algorithm")
    key = keys.pick(sealed)
    if key is None:
        raise NotOpened("no such key")
    try:
        _JWS.decode_complete(sealed.text, key.loaded, algorithms=[algorithm])
    except (PyJWTError, ValueError) as error:
        raise NotOpened("signature") from error
    return sealed.claims


def key_set(document: Any) -> KeySet:
    """Return the usable keys of a JWK Set; those of other kinds or uses are left out (RFC 7517 §5).

    Raises:
        NotOpened: the document is no JWK Set, or nothing in it is usable.
    """
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise NotOpened("no list of keys")
    found = tuple(key for key in map(_public_key, listed[:MAX_KEYS]) if key is not None)
    if not found:
        raise NotOpened("no usable key")
    return KeySet(found)


def faults(document: Any) -> Sequence[str]:
    """Return what is wrong with a JWK Set that somebody registers; empty = good. Private keys are named first."""
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_KEYS:
        return [f"must have a list of 1 to {MAX_KEYS} keys"]
    if any(isinstance(key, dict) and _PRIVATE & key.keys() for key in listed):
        return ["holds a private or symmetric key: register the public one only, and replace this one"]
    bad = [str(place) for place, key in enumerate(listed) if _public_key(key) is None]
    wanted = "a P-256, Ed25519 or RSA (2048 bits or more) public key for signatures"
    return [f"key {place} is not {wanted}" for place in bad]


def _public_key(data: Any) -> PublicKey | None:
    if not isinstance(data, dict) or _PRIVATE & data.keys() or data.get("use") not in (None, "sig"):
        return None
    kind = (data.get("kty"), data.get("crv"))
    algorithm, kid = data.get("alg"), data.get("kid")
    fitting = [name for name, wanted in ALGORITHMS.items() if wanted == kind]
    if not fitting or algorithm not in (None, *fitting):
        return None
    try:
        loaded = jwt.PyJWK(data, fitting[0]).key
    except (PyJWTError, ValueError, TypeError):
        return None
    if kind[0] == "RSA" and loaded.key_size < MIN_RSA_BITS:
        return None
    return PublicKey(kid if isinstance(kid, str) else None, ALGORITHMS[fitting[0]], algorithm, loaded)


def _fits(key: PublicKey, algorithm: str) -> bool:
    return ALGORITHMS.get(algorithm) == key.kind and key.algorithm in (None, algorithm)
