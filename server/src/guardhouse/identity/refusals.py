"""Every way a request is turned away before a feature sees it: who is asking, and what it may do.

A 401 always carries both challenges; a 403 names what is missing.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

from guardhouse.foundation.errors import Problem

KEY_CHALLENGE: Final = 'ApiKey realm="guardhouse", header="X-API-Key"'
METADATA_PATH: Final = "/.well-known/oauth-protected-resource"


def challenges(public_url: str, **parameters: str | None) -> dict[str, str]:
    """Return both challenges (RFC 6750 §3, RFC 9728 §5.1), the first with the parameters that apply."""
    said = {"realm": "guardhouse", "resource_metadata": public_url + METADATA_PATH, **parameters}
    bearer = ", ".join(f'{name}="{value}"' for name, value in said.items() if value is not None)
    return {"WWW-Authenticate": f"Bearer {bearer}, {KEY_CHALLENGE}"}


class Unauthenticated(Problem):
    """The base of every 401: carries the challenges."""

    error: ClassVar[str | None] = None
    error_description: str | None = None

    def headers_at(self, public_url: str) -> Mapping[str, str]:
        """Return the challenges."""
        return self.headers | challenges(
            public_url, error=self.error, error_description=self.error_description
        )


class ApiKeyMissing(Unauthenticated):
    """No credential at all."""

    status, code, title = 401, "api_key_missing", "API key missing"
    remediation = "Send `X-API-Key: gh_live_…` or `Authorization: Bearer gh_live_…`."


class ApiKeyMalformed(Unauthenticated):
    """Not a key of this product, or mistyped: the checksum does not fit."""

    status, code, title = 401, "api_key_malformed", "API key malformed"
    remediation = "Copy the whole key again; it starts with gh_live_ or gh_test_ and has 49 characters."


class ApiKeyUnknown(Unauthenticated):
    """Well formed, but no such key here."""

    status, code, title = 401, "api_key_unknown", "API key unknown"
    remediation = "Check that the key belongs to this installation."


class ApiKeyRevoked(Unauthenticated):
    """The key was revoked."""

    status, code, title = 401, "api_key_revoked", "API key revoked"
    remediation = "Use the key that replaced it, or ask an admin for a new one."


class ApiKeyExpired(Unauthenticated):
    """The key's time is over."""

    status, code, title = 401, "api_key_expired", "API key expired"
    remediation = "Ask an admin for a new key."


class ApiKeySuspended(Unauthenticated):
    """The key is suspended for now."""

    status, code, title = 401, "api_key_suspended", "API key suspended"
    remediation = "Ask an admin to make the key active again."


class InvalidToken(Unauthenticated):
    """The bearer token is not one that is good here; the reason is told only when its signature is."""

    status, code, title = 401, "invalid_token", "Invalid token"
    remediation = "Get a new access token from /oauth/token, or from an issuer that this tenant trusts."
    error = "invalid_token"

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(f"The token is refused: {reason}." if reason else "The token is not good here.")
        self.error_description = reason


class TokenExpired(Unauthenticated):
    """The bearer token was good and its time is over."""

    status, code, title = 401, "token_expired", "Token expired"
    remediation = (
        "Get a new access token; clients do so when this comes, or shortly before expires_in is over."
    )
    error = "invalid_token"

    def __init__(self) -> None:
        super().__init__("The token has expired.")
        self.error_description = "the token has expired"


class SessionExpired(Unauthenticated):
    """The session has ended: signed out, unused for an hour, or twelve hours old."""

    status, code, title = 401, "session_expired", "Session expired"
    remediation = "Sign in again."


class AmbiguousCredentials(Unauthenticated):
    """Two different credentials in one request."""

    status, code, title = 401, "ambiguous_credentials", "Ambiguous credentials"
    remediation = "Send exactly one credential."


class RawKeyInUrl(Problem):
    """A key was put into the URL, where proxies and logs keep it. Consider it exposed."""

    status, code, title = 400, "raw_key_in_url", "Key in the URL"
    remediation = "Send keys in the X-API-Key header, and revoke this one: URLs are logged along the way."


class ScopeMissing(Problem):
    """The caller may not do this; ``required_scope`` names what is missing."""

    status, code, title = 403, "scope_missing", "Scope missing"
    remediation = "Use a key that has the scope named in `required_scope`."

    def headers_at(self, public_url: str) -> Mapping[str, str]:
        """Return the challenges, with the scope that would do."""
        scope = self.extensions.get("required_scope")
        return self.headers | challenges(public_url, error="insufficient_scope", scope=scope)


class NoRoleMapped(Problem):
    """The token is good, but nothing in it stands for a role here; ``claim`` names what was read."""

    status, code, title = 403, "no_role_mapped", "No role mapped"
    remediation = (
        "Put a value that the issuer's role map knows into the claim named in `claim`, or extend the map."
    )


class TenantSuspended(Problem):
    """The tenant is suspended or closed."""

    status, code, title = 403, "tenant_suspended", "Tenant suspended"
    remediation = "Ask the operator of this installation."
