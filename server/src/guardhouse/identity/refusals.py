"""Every way a request is turned away before a feature sees it: who is asking, and what it may do.

A 401 always carries both challenges; a 403 names what is missing.
"""

from typing import Final

from guardhouse.foundation.errors import Problem

KEY_CHALLENGE: Final = 'ApiKey realm="guardhouse", header="X-API-Key"'
CHALLENGE: Final = {"WWW-Authenticate": f'Bearer realm="guardhouse", {KEY_CHALLENGE}'}


class Unauthenticated(Problem):
    """The base of every 401: carries the challenges."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers=CHALLENGE)


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


class TenantSuspended(Problem):
    """The tenant is suspended or closed."""

    status, code, title = 403, "tenant_suspended", "Tenant suspended"
    remediation = "Ask the operator of this installation."
