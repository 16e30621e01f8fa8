"""A person comes back from an issuer: member made or brought up to date, role mapped anew, session opened."""

import hmac
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation import logs
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.request import system_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.identity import members, sessions
from guardhouse.identity.issuers import store
from guardhouse.identity.issuers.discover import Directory
from guardhouse.identity.issuers.map_claims import map_claims
from guardhouse.identity.issuers.store import Issuer
from guardhouse.identity.oidc.exchange_code import authorization_url, believe, exchange_code
from guardhouse.identity.oidc.refused import SignInRefused
from guardhouse.identity.oidc.sign_in_state import SignInState
from guardhouse.identity.refusals import TenantSuspended
from guardhouse.identity.sessions import SessionFor

MAX_NAME: Final = 200
_log = logs.get(__name__)


async def issuer_of(resources: Resources, issuer_id: str) -> Issuer:
    """Return an active issuer by its id.

    Raises:
        SignInRefused: there is none, or people cannot sign in with it.
        TenantSuspended: its tenant is not active.
    """
    try:
        wanted = UUID(issuer_id)
    except ValueError:
        raise SignInRefused("unknown_issuer", "There is no such issuer here.", status=404) from None
    async with system_transaction(resources) as tx:
        issuer = await store.find_issuer(tx, wanted)
    if issuer is None or issuer.state != "active" or issuer.client_id is None:
        raise SignInRefused("unknown_issuer", "There is no such issuer here.", status=404)
    if issuer.tenant.state != "active":
        raise TenantSuspended("The tenant is not active.")
    return issuer


async def send_away(resources: Resources, directory: Directory, issuer: Issuer, state: SignInState) -> str:
    """Return the issuer's URL where the person signs in.

    Raises:
        SignInRefused: the issuer offers no sign-in.
        IssuerUnavailable: it does not answer.
    """
    found = await directory.discover(issuer.issuer)
    return authorization_url(found, issuer, state, resources.settings.public_url)


async def come_back(
    resources: Resources,
    directory: Directory,
    state: SignInState | None,
    answer: Mapping[str, str],
    replacing: str | None,
) -> str:
    """Judge what the browser brought and return the value of the session's cookie.

    ``replacing`` is the cookie of a session before.

    Raises:
        SignInRefused, Problem: no session was opened; where the tenant is known its audit log says so.
    """
    if state is None or not hmac.compare_digest(answer.get("state", "").encode(), state.state.encode()):
        raise SignInRefused("unknown_state", "This sign-in was not begun in this browser within ten minutes.")
    issuer = await issuer_of(resources, state.issuer_id)
    try:
        said = await _claims(resources, directory, issuer, state, answer)
        return await _open(resources, issuer, said, replacing)
    except (SignInRefused, Problem) as refusal:
        _log.warning("sign_in_refused", code=refusal.code)
        actor = Actor(issuer.tenant.id, f"issuer:{issuer.id}")
        async with system_transaction(resources) as tx:
            entry = Entry("session.refuse", f"issuer:{issuer.id}", after={"code": refusal.code})
            await record(tx, actor, entry)
        raise


async def _claims(
    resources: Resources,
    directory: Directory,
    issuer: Issuer,
    state: SignInState,
    answer: Mapping[str, str],
) -> Mapping[str, Any]:
    found = await directory.discover(issuer.issuer)
    named = answer.get("iss")
    if named != issuer.issuer and (named is not None or found.names_itself):
        raise SignInRefused("wrong_issuer", "The answer is not of the issuer that was asked.")
    if "error" in answer:
        raise SignInRefused("refused_by_issuer", "The issuer did not let you sign in.", status=403)
    if "code" not in answer:
        raise SignInRefused("no_code", "The issuer sent no code.")
    tokens = await exchange_code(resources, found, issuer, state, answer["code"])
    return await believe(resources, directory, issuer, state, tokens)


async def _open(resources: Resources, issuer: Issuer, said: Mapping[str, Any], replacing: str | None) -> str:
    role, scopes = map_claims(issuer, said)
    subject = str(said["sub"])
    async with system_transaction(resources) as tx:
        member = await members.upsert_member(
            tx,
            issuer.tenant.key,
            issuer.issuer,
            subject,
            email=_text(said.get("email")),
            name=_text(said.get("name")),
            role=role,
        )
        wanted = SessionFor(
            issuer.tenant.key,
            role,
            scopes,
            member_id=member.id,
            issuer_id=issuer.id,
            sid=_text(said.get("sid")),
            sub=subject,
        )
        value, _ = await sessions.open_session(tx, resources, wanted, replacing=replacing)
    return value


def _text(value: object) -> str | None:
    """Return a claim that may be shown; None when it is no text or PostgreSQL could not keep it."""
    if not isinstance(value, str) or not value or len(value) > MAX_NAME:
        return None
    return None if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value) else value
