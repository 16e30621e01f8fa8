"""From the claims of an issuer to a role and scopes here: what the tenant's map says, and nothing it does not say."""

from collections.abc import Mapping
from typing import Any

from guardhouse.identity.issuers.store import Issuer
from guardhouse.identity.refusals import NoRoleMapped
from guardhouse.identity.roles import ROLES


def map_claims(issuer: Issuer, claims: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
    """Return role and scopes. Of several mapped roles the one with most scopes counts; scopes only narrow it.

    Raises:
        NoRoleMapped: no value of the role claim is in the map.
    """
    roles = {
        issuer.role_map[value] for value in values_of(claims, issuer.role_claim) if value in issuer.role_map
    }
    if not roles:
        raise NoRoleMapped(
            f"Nothing in the claim {issuer.role_claim} stands for a role here.", claim=issuer.role_claim
        )
    role = max(roles, key=lambda name: (len(ROLES[name]), name))
    if issuer.scope_claim is None:
        return role, ROLES[role]
    given = values_of(claims, issuer.scope_claim)
    mapped = {scope for value in given for scope in issuer.scope_map.get(value, [value])}
    return role, ROLES[role].intersection(mapped)


def values_of(claims: Mapping[str, Any], path: str) -> list[str]:
    """Return the texts in a claim: itself, its words, or the items of its list.

    ``path`` is the claim's name as it stands, or, when there is none of that name, steps down parted by dots.
    """
    value: Any = claims.get(path)
    if value is None:
        value = claims
        for step in path.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
    if isinstance(value, str):
        return [value, *value.split()]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
