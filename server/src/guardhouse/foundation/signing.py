"""HTTP message signatures of agents: RFC 9421 with ``hmac-sha256`` through the library, and the older header.

The library rebuilds the signature base and compares the MAC; digest, freshness and the covered parts that
we insist on are checked here, the nonce by the caller in the transaction of the request.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import http_sf
from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    InvalidSignature,
    algorithms,
)

FRESH_SECONDS: Final = 300
NONCE_SECONDS: Final = 2 * FRESH_SECONDS + 1  # freshness is judged in whole seconds
NONCE_LENGTH: Final = range(16, 65)
_DIGESTS: Final = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}
_URI_PARTS: Final = frozenset({"@authority", "@path"})


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """A request as the signer saw it: absolute URL under our public name, headers, body as sent."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """What ``Signature-Input`` says before anything is verified."""

    label: str
    keyid: str
    nonce: str
    created: int
    expires: int | None
    components: frozenset[str]


class SignatureRefused(Exception):  # noqa: N818 - the outcome of a check; the text is for our log alone
    """The signature does not hold. Why is for the log, never for the client."""


class _OneKey(HTTPSignatureKeyResolver):
    def __init__(self, key: bytes) -> None:
        self._key = key

    def resolve_public_key(self, key_id: str) -> bytes:
        del key_id
        return self._key

    def resolve_private_key(self, key_id: str) -> bytes:
        del key_id
        return self._key


class _Verifier(HTTPMessageVerifier):
    def validate_created_and_expires(self, sig_input: Any, max_age: Any = None) -> None:
        """Freshness is judged by :func:`read_claim` with the clock of the house."""


def read_claim(message: SignedMessage, *, tag: str, now: int) -> Claim:
    """Return the one signature with this tag, fresh and covering all that matters; its MAC is not checked yet.

    ``now`` is Unix seconds. Source: RFC 9421 §2.3 and §3.2, RFC 9530, events-and-risk §2.6.

    Raises:
        SignatureRefused: malformed, none or several with the tag, stale, wrong digest, or a part not covered.
    """
    inputs = _dictionary(message, "signature-input")
    tagged = [(label, member) for label, member in inputs.items() if member[1].get("tag") == tag]
    if len(tagged) != 1 or not isinstance(tagged[0][1][0], list):
        raise SignatureRefused(f"{len(tagged)} signatures with tag {tag}")
    label, (parts, parameters) = tagged[0]
    components = frozenset(str(name) for name, _ in parts)
    claim = Claim(
        label,
        _text(parameters, "keyid"),
        _text(parameters, "nonce"),
        _integer(parameters, "created"),
        _integer(parameters, "expires") if "expires" in parameters else None,
        components,
    )
    _check_fresh(claim, now)
    _check_covered(message, components)
    if any(options for _, options in parts) or _text(parameters, "alg") != "hmac-sha256":
        raise SignatureRefused("component parameters or algorithm")
    _check_digest(message)
    return claim


def verify_mac(message: SignedMessage, claim: Claim, key: bytes, *, tag: str) -> bool:
    """Tell whether the message was signed with this key (constant-time comparison inside the library)."""
    verifier = _Verifier(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=_OneKey(key))
    try:
        verifier.verify(message, max_age=None, expect_tag=tag, expect_label=claim.label)
    except (InvalidSignature, HTTPMessageSignaturesException):
        return False
    return True


def legacy_mac(key: bytes, body: bytes) -> str:
    """Return the value of ``X-Agent-Signature``: base64 of HMAC-SHA256 over the raw body."""
    return base64.b64encode(hmac.digest(key, body, "sha256")).decode()


def verify_legacy(key: bytes, body: bytes, given: str) -> bool:
    """Compare the older header in constant time."""
    return hmac.compare_digest(legacy_mac(key, body).encode(), given.strip().encode("utf-8", "replace"))


def _check_fresh(claim: Claim, now: int) -> None:
    if abs(now - claim.created) > FRESH_SECONDS:
        raise SignatureRefused(f"created {now - claim.created} s ago")
    if claim.expires is not None and not now <= claim.expires <= claim.created + FRESH_SECONDS:
        raise SignatureRefused("expired, or expires too late")
    if len(claim.nonce) not in NONCE_LENGTH:
        raise SignatureRefused("nonce length")


def _check_covered(message: SignedMessage, components: frozenset[str]) -> None:
    names = {name.lower() for name in message.headers}
    wanted = {"@method", "content-type", "content-digest"}
    wanted |= {name for name in ("content-encoding", "idempotency-key") if name in names}
    if "@target-uri" not in components:
        wanted |= _URI_PARTS | ({"@query"} if "?" in message.url else set())
    if not wanted <= components:
        raise SignatureRefused(f"not covered: {sorted(wanted - components)}")


def _check_digest(message: SignedMessage) -> None:
    digests = _dictionary(message, "content-digest")
    known = [(name, member[0]) for name, member in digests.items() if name in _DIGESTS]
    if not known or not all(
        isinstance(value, bytes) and hmac.compare_digest(_DIGESTS[name](message.body).digest(), value)
        for name, value in known
    ):
        raise SignatureRefused("content digest")


def _dictionary(message: SignedMessage, name: str) -> dict[str, Any]:
    """Return a structured field (RFC 9651) as ``{key: (value, parameters)}``."""
    try:
        return cast("dict[str, Any]", http_sf.parse(_header(message, name).encode(), tltype="dictionary"))
    except SignatureRefused:
        raise
    except Exception as error:  # the parser raises many kinds on hostile input
        raise SignatureRefused(f"{name}: {error}") from error


def _header(message: SignedMessage, name: str) -> str:
    """Return a field with all its lines as one value, as the library reads it (RFC 9110 §5.3)."""
    lines = [value for given, value in message.headers.items() if given.lower() == name]
    if not lines:
        raise SignatureRefused(f"no {name}")
    return ", ".join(lines)


def _text(parameters: Mapping[str, Any], name: str) -> str:
    value = parameters.get(name)
    if not isinstance(value, str):
        raise SignatureRefused(f"no {name}")
    return value


def _integer(parameters: Mapping[str, Any], name: str) -> int:
    value = parameters.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise SignatureRefused(f"no {name}")
    return value
