"""Signing out where an issuer is involved: from here (RP-initiated), or because the issuer says so (back-channel)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from guardhouse.foundation.request import system_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.identity import claims, jws, sessions
from guardhouse.identity.bearers import Bearers
from guardhouse.identity.claims import ClaimRefused
from guardhouse.identity.issuers import store
from guardhouse.identity.issuers.discover import Directory, IssuerUnavailable
from guardhouse.identity.issuers.store import Issuer
from guardhouse.identity.jws import NotOpened, Sealed
from guardhouse.identity.people.store import Session
from guardhouse.identity.tokens import store as tokens

EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
LONGEST_SECONDS: Final = 24 * 3600.0  # issuers give minutes; its id is remembered as long as a token is good


async def end_session_url(resources: Resources, directory: Directory, session: Session) -> str | None:
    """Return where the browser signs out of the issuer too (RP-Initiated Logout 1.0 §2); None: not offered."""
    if session.issuer_id is None:
        return None
    async with system_transaction(resources) as tx:
        issuer = await store.get_issuer(tx, session.tenant.id, session.issuer_id)
    if issuer is None or issuer.client_id is None:
        return None
    try:
        found = await directory.discover(issuer.issuer)
    except IssuerUnavailable:
        return None  # signed out here, and that is all that can be done
    if found.end_session_endpoint is None:
        return None
    said = {
        "client_id": issuer.client_id,
        "post_logout_redirect_uri": f"{resources.settings.public_url}/",
    }
    joint = "&" if "?" in found.end_session_endpoint else "?"
    return found.end_session_endpoint + joint + urlencode(said)


async def end_by_token(bearers: Bearers, text: str) -> int:
    """End the sessions a logout token names, in every tenant it is meant for, and return how many there were.

    Raises:
        NotOpened: not signed by an issuer that anybody trusts.
        ClaimRefused: signed, but no logout token for us (Back-Channel Logout 1.0 §2.6), or used before.
        IssuerUnavailable: the issuer's keys cannot be had.
    """
    sealed = jws.read(text)
    name = sealed.claims.get("iss")
    listed = await bearers.trusted(name) if isinstance(name, str) else ()
    fitting = [each for each in listed if each.client_id in claims.audiences(sealed.claims)]
    if not fitting:
        raise NotOpened("nobody here asked for it")
    keys = await bearers.directory.keys_of(fitting[0].issuer, sealed)
    ended = [
        await _end(
            bearers.resources, issuer, _told(sealed, jws.open_with(sealed, keys, issuer.algorithms), bearers)
        )
        for issuer in fitting
    ]
    if all(count is None for count in ended):
        raise ClaimRefused("it was used before")
    return sum(filter(None, ended))


@dataclass(frozen=True, slots=True)
class _Told:
    """What a logout token says: its own id, until when that must be remembered, and whose sessions end."""

    jti: str
    until: datetime
    sid: str | None
    sub: str | None


def _told(sealed: Sealed, said: Mapping[str, Any], bearers: Bearers) -> _Told:
    now = bearers.resources.clock.now()
    expires = claims.check_times(said, now)
    if expires > now.timestamp() + LONGEST_SECONDS:
        raise ClaimRefused("exp is too far ahead")
    events = said.get("events")
    if not isinstance(events, Mapping) or not isinstance(events.get(EVENT), Mapping) or "nonce" in said:
        raise ClaimRefused("it is no logout token")
    if sealed.header.get("typ", "logout+jwt") not in {"logout+jwt", "JWT"}:
        raise ClaimRefused("it is a token of another type")
    by_sid = "sid" in said
    return _Told(
        claims.text_claim(said, "jti"),
        datetime.fromtimestamp(expires + claims.SKEW_SECONDS, UTC),
        claims.text_claim(said, "sid") if by_sid else None,
        None if by_sid else claims.text_claim(said, "sub"),
    )


async def _end(resources: Resources, issuer: Issuer, told: _Told) -> int | None:
    """End the sessions of one tenant and return how many there were; None: this token was used before."""
    async with system_transaction(resources) as tx:
        if not await tokens.spend_token_id(tx, issuer.tenant.id, issuer.id, told.jti, told.until):
            return None
        return await sessions.end_sessions(
            tx, issuer.tenant.key, sid=told.sid, sub=told.sub, issuer_id=issuer.id
        )
