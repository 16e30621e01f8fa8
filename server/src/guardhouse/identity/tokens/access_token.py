"""Access tokens of this server: JWTs as RFC 9068 has them, signed with ES256, meant for this API alone.

A token is believed while its client stands and its tenant is active, and it never does more than its client may now.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import jwt

from guardhouse.foundation.ids import new_id
from guardhouse.identity import claims, jws
from guardhouse.identity.claims import ClaimRefused
from guardhouse.identity.jws import NotOpened, Sealed
from guardhouse.identity.tokens.signing_keys import ALGORITHM, KeyRing, SigningKey
from guardhouse.identity.tokens.store import Client

TYPE: Final = "at+jwt"
_JWS: Final = jwt.PyJWS()


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a verified token says."""

    jti: UUID
    client_id: UUID
    tenant_id: UUID
    scopes: frozenset[str]
    expires: float
    claims: dict[str, Any]


def issue(key: SigningKey, client: Client, scopes: Iterable[str], *, issuer: str, now: datetime) -> str:
    """Return a new access token of a client for these scopes; ``issuer``, the public URL, is its audience too.

    Raises:
        ValueError: the key is one that only verifies.
    """
    if key.private is None:
        raise ValueError("the private half of the key is not here")
    issued = int(now.timestamp())
    said = {
        "iss": issuer,
        "sub": str(client.id),
        "client_id": str(client.id),
        "aud": issuer,
        "exp": issued + client.token_seconds,
        "iat": issued,
        "jti": str(new_id()),
        "scope": " ".join(sorted(scopes)),
        "tenant_id": str(client.tenant.id),
    }
    payload = json.dumps(said, separators=(",", ":")).encode()
    return _JWS.encode(payload, key.private, ALGORITHM, {"typ": TYPE, "kid": key.kid})


def verify(sealed: Sealed, ring: KeyRing, *, issuer: str, now: datetime) -> AccessToken:
    """Return what one of our tokens says. Whether it was revoked is for the caller to look up.

    Raises:
        NotOpened: not signed by us as an access token.
        ClaimRefused: ours, but not (or no longer) good here.
    """
    if sealed.kid is None or sealed.header.get("typ") != TYPE:
        raise NotOpened("no access token")
    said = jws.open_with(sealed, ring.public, (ALGORITHM,))
    expires = claims.check_times(said, now)
    claims.check_audience(said, (issuer,))
    if said.get("iss") != issuer:
        raise ClaimRefused("the token is of another issuer")
    return AccessToken(
        UUID(said["jti"]),
        UUID(said["client_id"]),
        UUID(said["tenant_id"]),
        frozenset(said["scope"].split()),
        expires,
        dict(said),
    )
