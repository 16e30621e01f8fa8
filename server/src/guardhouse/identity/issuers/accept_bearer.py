"""A bearer token of an external issuer: whose it is, and for which tenant it counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from guardhouse.identity import claims, jws
from guardhouse.identity.claims import ClaimRefused
from guardhouse.identity.issuers.discover import Directory
from guardhouse.identity.issuers.map_claims import map_claims
from guardhouse.identity.issuers.store import Issuer
from guardhouse.identity.jws import NotOpened, Sealed

_TYPES: Final = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})


@dataclass(frozen=True, slots=True)
class Accepted:
    """Whom a token stands for: a subject of an issuer that a tenant trusts."""

    issuer: Issuer
    subject: str
    role: str
    scopes: frozenset[str]
    expires: float


async def accept_bearer(
    directory: Directory, trusted: Sequence[Issuer], sealed: Sealed, now: datetime
) -> Accepted:
    """Judge a token by what the tenants that trust its issuer ask for; the oldest trust that fits counts.

    Raises:
        NotOpened: not signed by the issuer as the tenant allows, or no bearer token.
        ClaimRefused: signed, but out of time or for others.
        NoRoleMapped: good, but nothing in it stands for a role.
        IssuerUnavailable: the issuer's keys cannot be had.
    """
    kind = sealed.header.get("typ", "")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise NotOpened("no bearer token")
    fitting = [issuer for issuer in trusted if _fits(issuer, sealed.claims)]
    issuer = (fitting or trusted)[0]
    keys = await directory.keys_of(issuer.issuer, sealed)
    said = jws.open_with(sealed, keys, issuer.algorithms)
    expires = claims.check_times(said, now)
    if not fitting:
        claims.check_audience(said, {each.audience for each in trusted})
        raise ClaimRefused("the token is of another organisation")
    subject = claims.text_claim(said, "sub")
    role, scopes = map_claims(issuer, said)
    return Accepted(issuer, subject, role, scopes, expires)


def of_tenant(issuer: Issuer, said: Mapping[str, Any]) -> bool:
    """Tell whether the claims are of the organisation that the tenant's rule names."""
    return issuer.tenant_claim is None or said.get(issuer.tenant_claim) == issuer.tenant_value


def _fits(issuer: Issuer, said: Mapping[str, Any]) -> bool:
    return issuer.audience in claims.audiences(said) and of_tenant(issuer, said)
