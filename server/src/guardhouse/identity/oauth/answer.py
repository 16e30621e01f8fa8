"""What the OAuth endpoints do once the client is known: give a token, say what one is worth, end one."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.request import system_transaction
from guardhouse.identity import jws
from guardhouse.identity import store as identity_store
from guardhouse.identity.bearers import Bearers
from guardhouse.identity.claims import SKEW_SECONDS, ClaimRefused
from guardhouse.identity.jws import NotOpened
from guardhouse.identity.oauth.refusals import (
    InvalidScope,
    InvalidTarget,
    OAuthInvalidRequest,
    UnsupportedGrantType,
)
from guardhouse.identity.tokens import access_token, store
from guardhouse.identity.tokens.access_token import AccessToken
from guardhouse.identity.tokens.store import Client

GRANT: Final = "client_credentials"
_TOLD: Final = ("iss", "sub", "client_id", "aud", "exp", "iat", "jti", "tenant_id")


def check_grant(form: Mapping[str, str]) -> None:
    """Insist on the one grant there is (RFC 6749 §4.4).

    Raises:
        OAuthInvalidRequest: none is named.
        UnsupportedGrantType: another one.
    """
    asked = form.get("grant_type")
    if asked is None:
        raise OAuthInvalidRequest("grant_type is missing.")
    if asked != GRANT:
        raise UnsupportedGrantType("The only grant is client_credentials.")


async def give_token(bearers: Bearers, client: Client, form: Mapping[str, str]) -> dict[str, Any]:
    """Return a token answer (RFC 6749 §5.1); no ``scope`` means all scopes of the client.

    Raises:
        InvalidScope: more than the client has.
        InvalidTarget: for another resource than this API.
    """
    issuer = bearers.resources.settings.public_url
    if form.get("resource", issuer).rstrip("/") != issuer:
        raise InvalidTarget(f"Tokens of this server are for {issuer} alone.")
    scopes = set(form.get("scope", "").split()) or set(client.scopes)
    if scopes - set(client.scopes):
        raise InvalidScope("The client does not have all of these scopes.")
    key = await bearers.signing_key()
    text = access_token.issue(key, client, scopes, issuer=issuer, now=bearers.resources.clock.now())
    return {
        "access_token": text,
        "token_type": "Bearer",
        "expires_in": client.token_seconds,
        "scope": " ".join(sorted(scopes)),
    }


async def look_into(bearers: Bearers, client: Client, form: Mapping[str, str]) -> dict[str, Any]:
    """Return what a token of the client's own tenant is worth (RFC 7662 §2.2); of any other only that it is not.

    Raises:
        OAuthInvalidRequest: no token is given.
    """
    found = await _own_token(bearers, form)
    if found is None or found[0].tenant_id != client.tenant.id or found[1].tenant.state != "active":
        return {"active": False}
    token, owner = found
    scope = " ".join(sorted(token.scopes.intersection(owner.scopes)))
    told = {name: token.claims[name] for name in _TOLD}
    return {"active": True, "token_type": "Bearer", "scope": scope, **told}


async def end_token(bearers: Bearers, client: Client, form: Mapping[str, str]) -> None:
    """Revoke a token that was given to this client (RFC 7009 §2.1); any other is left alone, without a word.

    Raises:
        OAuthInvalidRequest: no token is given.
    """
    found = await _own_token(bearers, form)
    if found is None or found[0].client_id != client.id:
        return
    token = found[0]
    kept_until = datetime.fromtimestamp(token.expires + SKEW_SECONDS, UTC)
    async with system_transaction(bearers.resources) as tx:
        if await store.add_revocation(tx, client.tenant.id, token.jti, kept_until):
            await identity_store.notify_change(tx)
            actor = Actor(client.tenant.id, f"client:{client.id}", str(client.id))
            await record(tx, actor, Entry("token.revoke", f"token:{token.jti}"))
    bearers.drop()


async def _own_token(bearers: Bearers, form: Mapping[str, str]) -> tuple[AccessToken, Client] | None:
    if "token" not in form:
        raise OAuthInvalidRequest("token is missing.")
    try:
        return await bearers.own_token(jws.read(form["token"]), bearers.resources.clock.now())
    except (NotOpened, ClaimRefused):
        return None
