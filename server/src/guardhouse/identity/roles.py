"""Roles as data: a role is a named set of scopes; a key may have fewer, never more (api-webhooks-identity §4.1)."""

from typing import Final

_READ: Final = frozenset(
    {
        "agents:read",
        "projects:read",
        "events:read",
        "scores:read",
        "anomalies:read",
        "usage:read",
        "webhooks:read",
    }
)
_TELEMETRY: Final = frozenset({"events:write", "telemetry:write", "app_rules:read"})
_ANALYST: Final = _READ | {"scores:write", "anomalies:write", "audit:read", "webhooks:replay"}
_ADMIN: Final = (
    _ANALYST
    | _TELEMETRY
    | {
        "agents:write",
        "projects:write",
        "app_rules:write",
        "risk:write",
        "anomalies:admin",
        "webhooks:write",
        "keys:read",
        "keys:write",
        "admin",
    }
)

ROLES: Final[dict[str, frozenset[str]]] = {
    "viewer": _READ,
    "analyst": _ANALYST,
    "admin": _ADMIN,
    "agent": _TELEMETRY,
    "platform": _ADMIN | {"platform"},
}
TENANT_ROLES: Final = frozenset(ROLES) - {"platform"}
SCOPES: Final[frozenset[str]] = frozenset().union(*ROLES.values())
