"""Try an issuer: read what it publishes now, past every memory, and judge a token by it if one is given."""

from datetime import datetime
from typing import Final

from guardhouse.foundation.clock import Clock
from guardhouse.foundation.outbound import Outbound
from guardhouse.identity import jws
from guardhouse.identity.claims import ClaimRefused
from guardhouse.identity.issuers.accept_bearer import Accepted, accept_bearer
from guardhouse.identity.issuers.discover import Directory, Discovered, IssuerUnavailable, metadata_url
from guardhouse.identity.issuers.store import Issuer
from guardhouse.identity.jws import NotOpened
from guardhouse.identity.published import NotPublished
from guardhouse.identity.refusals import NoRoleMapped
from guardhouse.identity.trust.wire import IssuerCheck, IssuerTest

_NEEDED: Final = ("authorization_endpoint", "token_endpoint")


async def try_issuer(outbound: Outbound, clock: Clock, issuer: Issuer, token: str | None) -> IssuerTest:
    """Return what was found, step by step; the first step that fails ends it."""
    directory = Directory(outbound, clock)
    checks: list[IssuerCheck] = []
    accepted: Accepted | None = None
    try:
        found = await directory.metadata.fetch(metadata_url(issuer.issuer))
        checks.append(IssuerCheck(step="metadata", ok=True, detail="read"))
        checks.append(_names_itself(issuer, found))
        keys = await directory.keys.fetch(found.jwks_uri)
        checks.append(IssuerCheck(step="keys", ok=True, detail=f"{len(keys.keys)} usable"))
        if issuer.client_id is not None:
            checks.append(_offers_sign_in(found))
    except NotPublished as failure:
        step = "keys" if checks else "metadata"
        checks.append(IssuerCheck(step=step, ok=False, detail=str(failure)))
    if token is not None and all(check.ok for check in checks):
        accepted = await _judge(directory, issuer, token, clock.now(), checks)
    return IssuerTest(
        ok=all(check.ok for check in checks),
        checks=checks,
        role=accepted.role if accepted else None,
        scopes=sorted(accepted.scopes) if accepted else None,
    )


async def _judge(
    directory: Directory, issuer: Issuer, token: str, now: datetime, checks: list[IssuerCheck]
) -> Accepted | None:
    try:
        sealed = jws.read(token)
        accepted = await accept_bearer(directory, [issuer], sealed, now)
    except (NotOpened, ClaimRefused, IssuerUnavailable) as refused:
        checks.append(IssuerCheck(step="token", ok=False, detail=str(refused)))
        return None
    except NoRoleMapped as refused:
        checks.append(IssuerCheck(step="role", ok=False, detail=refused.detail))
        return None
    if sealed.claims.get("iss") != issuer.issuer:
        checks.append(IssuerCheck(step="token", ok=False, detail="the token is of another issuer"))
        return None
    checks.append(IssuerCheck(step="token", ok=True, detail="good"))
    checks.append(IssuerCheck(step="role", ok=True, detail=accepted.role))
    return accepted


def _names_itself(issuer: Issuer, found: Discovered) -> IssuerCheck:
    same = found.issuer == issuer.issuer
    return IssuerCheck(
        step="issuer", ok=same, detail="the same" if same else "the metadata names another issuer"
    )


def _offers_sign_in(found: Discovered) -> IssuerCheck:
    missing = [name for name in _NEEDED if getattr(found, name) is None]
    return IssuerCheck(
        step="sign_in", ok=not missing, detail=f"{' and '.join(missing)} missing" if missing else "offered"
    )
