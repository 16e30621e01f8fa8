"""How a client proves who it is: its secret by HTTP Basic or in the form, or an assertion signed with its key.

Exactly one way per request (RFC 6749 §2.3). Every failure is the same ``invalid_client`` and costs one comparison,
known client or not.
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote_plus
from uuid import UUID

from guardhouse.foundation.request import system_transaction
from guardhouse.identity import claims, jws
from guardhouse.identity.bearers import Bearers
from guardhouse.identity.claims import ClaimRefused
from guardhouse.identity.jws import NotOpened, Sealed
from guardhouse.identity.oauth.refusals import InvalidClient, OAuthInvalidRequest, UnauthorizedClient
from guardhouse.identity.tokens import clients, store
from guardhouse.identity.tokens.store import Client

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS: Final = 300
TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 - a path


async def prove_client(bearers: Bearers, form: Mapping[str, str], authorization: str | None) -> Client:
    """Return the client that this request comes from.

    Raises:
        InvalidClient: unknown, suspended, or a wrong proof.
        OAuthInvalidRequest: no way of proof, or more than one.
        UnauthorizedClient: its tenant is not active.
    """
    ways = [authorization is not None, "client_secret" in form, "client_assertion" in form]
    if sum(ways) > 1:
        raise OAuthInvalidRequest("The client proves itself in more than one way.")
    if "client_assertion" in form:
        client = await _by_assertion(bearers, form)
    elif authorization is not None:
        name, secret = _basic(authorization)
        client = await _by_secret(bearers, name, secret)
        if form.get("client_id", name) != name:
            raise OAuthInvalidRequest("client_id is not the one that the client proved.")
    elif "client_secret" in form:
        client = await _by_secret(bearers, form.get("client_id", ""), form["client_secret"])
    else:
        raise InvalidClient
    if client.tenant.state != "active":
        raise UnauthorizedClient("The tenant of this client is not active.")
    return client


def _basic(authorization: str) -> tuple[str, str]:
    """Return name and secret of HTTP Basic, each form-decoded (RFC 6749 §2.3.1)."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise InvalidClient from None
    if scheme.lower() != "basic" or not colon:
        raise InvalidClient
    return unquote_plus(name), unquote_plus(secret)


async def _by_secret(bearers: Bearers, name: str, secret: str) -> Client:
    client = await _find(bearers, name)
    known = clients.knows_secret(bearers.resources.peppers, client, secret)
    if client is None or not known:
        raise InvalidClient
    return client


async def _find(bearers: Bearers, name: str) -> Client | None:
    try:
        client = await bearers.client(UUID(name))
    except ValueError:
        return None
    return client if client is not None and client.state == "active" else None


async def _by_assertion(bearers: Bearers, form: Mapping[str, str]) -> Client:
    """Verify a signed assertion (RFC 7523 §3) and record that it was used."""
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        raise OAuthInvalidRequest(f"client_assertion_type must be {ASSERTION_TYPE}.")
    try:
        sealed = jws.read(form["client_assertion"])
        client = await _find(bearers, str(sealed.claims.get("sub")))
        if client is None or form.get("client_id", str(client.id)) != str(client.id):
            raise InvalidClient
        jws.open_with(sealed, await bearers.client_keys(client, sealed), jws.ALGORITHMS)
        jti, expires = _judge(bearers, client, sealed)
    except (NotOpened, ClaimRefused):
        raise InvalidClient from None
    async with system_transaction(bearers.resources) as tx:
        if not await store.spend_token_id(tx, client.tenant.id, client.id, jti, expires):
            raise InvalidClient
    return client


def _judge(bearers: Bearers, client: Client, sealed: Sealed) -> tuple[str, datetime]:
    """Return the assertion's id and until when it must be remembered."""
    now, issuer = bearers.resources.clock.now(), bearers.resources.settings.public_url
    expires = claims.check_times(sealed.claims, now)
    if expires > now.timestamp() + ASSERTION_SECONDS + claims.SKEW_SECONDS:
        raise ClaimRefused("exp is too far ahead")
    claims.check_audience(sealed.claims, (issuer, issuer + TOKEN_PATH))
    if sealed.claims.get("iss") != str(client.id):
        raise ClaimRefused("iss is not the client")
    jti = claims.text_claim(sealed.claims, "jti")
    return jti, datetime.fromtimestamp(expires + claims.SKEW_SECONDS, UTC)
