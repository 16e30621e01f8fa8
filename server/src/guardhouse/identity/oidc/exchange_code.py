"""Change an authorization code for an ID token, and believe the ID token (OpenID Connect Core 1.0 §3.1.3)."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from guardhouse.foundation.egress import EgressRefused
from guardhouse.foundation.outbound import Outbound, Unreachable
from guardhouse.foundation.resources import Resources
from guardhouse.identity import claims, jws
from guardhouse.identity.claims import ClaimRefused
from guardhouse.identity.issuers import trust
from guardhouse.identity.issuers.accept_bearer import of_tenant
from guardhouse.identity.issuers.discover import Directory, Discovered
from guardhouse.identity.issuers.store import Issuer
from guardhouse.identity.jws import NotOpened, Sealed
from guardhouse.identity.oidc.refused import SignInRefused
from guardhouse.identity.oidc.sign_in_state import SignInState

CALLBACK_PATH: Final = "/auth/oidc/callback"
EXCHANGE_SECONDS: Final = 10.0
_UNAVAILABLE: Final = 503
_OK: Final = 200
_BAD: Final = 500


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the token endpoint gave."""

    id_token: str
    access_token: str | None


def authorization_url(found: Discovered, issuer: Issuer, state: SignInState, public_url: str) -> str:
    """Return where to send the browser: code flow with PKCE, state and nonce.

    Raises:
        SignInRefused: the issuer offers no sign-in, or is trusted for bearer tokens alone.
    """
    if found.authorization_endpoint is None or issuer.client_id is None:
        raise SignInRefused("no_sign_in", "This issuer is not set up for people to sign in.")
    asked = {
        "response_type": "code",
        "client_id": issuer.client_id,
        "redirect_uri": public_url + CALLBACK_PATH,
        "scope": issuer.sign_in_scope,
        "state": state.state,
        "nonce": state.nonce,
        "code_challenge": state.challenge,
        "code_challenge_method": "S256",
    }
    joint = "&" if "?" in found.authorization_endpoint else "?"
    return found.authorization_endpoint + joint + urlencode(asked)


async def exchange_code(
    resources: Resources, found: Discovered, issuer: Issuer, state: SignInState, code: str
) -> Tokens:
    """Send the code to the issuer and return the tokens it gives.

    Raises:
        SignInRefused: the issuer does not answer (503), or refuses the code.
    """
    if found.token_endpoint is None or issuer.client_id is None:
        raise SignInRefused("no_sign_in", "This issuer is not set up for people to sign in.")
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": resources.settings.public_url + CALLBACK_PATH,
        "code_verifier": state.verifier,
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    secret = trust.open_secret(resources.master_key, issuer)
    if secret is None:
        form["client_id"] = issuer.client_id
    elif "client_secret_basic" in found.token_auth_methods or not found.token_auth_methods:
        pair = f"{quote(issuer.client_id, safe='')}:{quote(secret, safe='')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    else:
        form |= {"client_id": issuer.client_id, "client_secret": secret}
    return _tokens(await _ask(resources.outbound, found.token_endpoint, headers, form))


async def _ask(
    outbound: Outbound, url: str, headers: Mapping[str, str], form: Mapping[str, str]
) -> Mapping[str, Any]:
    try:
        answer = await outbound.send(
            "POST", url, headers=headers, body=urlencode(form).encode(), timeout_seconds=EXCHANGE_SECONDS
        )
    except (EgressRefused, Unreachable):
        raise SignInRefused(
            "issuer_unavailable", "The issuer does not answer.", status=_UNAVAILABLE
        ) from None
    if answer.status >= _BAD:
        raise SignInRefused("issuer_unavailable", "The issuer has a fault of its own.", status=_UNAVAILABLE)
    try:
        said = json.loads(answer.body)
    except (ValueError, RecursionError):
        said = None
    if answer.status != _OK or not isinstance(said, dict):
        raise SignInRefused("code_refused", "The issuer refused the code; it may have been used already.")
    return said


def _tokens(said: Mapping[str, Any]) -> Tokens:
    id_token, access_token = said.get("id_token"), said.get("access_token")
    if not isinstance(id_token, str):
        raise SignInRefused("no_id_token", "The issuer gave no ID token.")
    return Tokens(id_token, access_token if isinstance(access_token, str) else None)


async def believe(
    resources: Resources, directory: Directory, issuer: Issuer, state: SignInState, tokens: Tokens
) -> Mapping[str, Any]:
    """Return the claims of an ID token that is signed by the issuer, for us, for this sign-in, and in time.

    Raises:
        SignInRefused: it is not.
        IssuerUnavailable: the issuer's keys cannot be had.
    """
    try:
        sealed = jws.read(tokens.id_token)
        keys = await directory.keys_of(issuer.issuer, sealed)
        said = jws.open_with(sealed, keys, issuer.algorithms)
        claims.check_times(said, resources.clock.now())
        claims.text_claim(said, "sub")
        _check_parties(issuer, said)
        _check_ties(sealed, state, tokens)
    except NotOpened:
        raise SignInRefused("id_token_refused", "The ID token is not signed by the issuer.") from None
    except ClaimRefused as refused:
        raise SignInRefused("id_token_refused", f"The ID token is refused: {refused}.") from None
    return said


def _check_parties(issuer: Issuer, said: Mapping[str, Any]) -> None:
    if said.get("iss") != issuer.issuer:
        raise ClaimRefused("it is of another issuer")
    claims.check_audience(said, (issuer.client_id or "",))
    several = len(claims.audiences(said)) > 1
    if (several or "azp" in said) and said.get("azp") != issuer.client_id:
        raise ClaimRefused("azp names another party")
    if not of_tenant(issuer, said):
        raise ClaimRefused("it is of another organisation")


def _check_ties(sealed: Sealed, state: SignInState, tokens: Tokens) -> None:
    nonce = sealed.claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), state.nonce.encode()):
        raise ClaimRefused("the nonce is not that of this sign-in")
    given = sealed.claims.get("at_hash")
    if (
        given is not None
        and tokens.access_token is not None
        and given != _at_hash(sealed, tokens.access_token)
    ):
        raise ClaimRefused("at_hash is not that of the access token")


def _at_hash(sealed: Sealed, access_token: str) -> str:
    """Return the left half of the hash that goes with the algorithm (OpenID Connect Core 1.0 §3.1.3.6)."""
    digest = hashlib.sha512 if sealed.algorithm == "EdDSA" else hashlib.sha256
    whole = digest(access_token.encode()).digest()
    return base64.urlsafe_b64encode(whole[: len(whole) // 2]).rstrip(b"=").decode()
