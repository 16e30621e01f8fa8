"""Roles as data: a role is a named set of scopes; a key may have fewer, never more (api-webhooks-identity §4.1)."""

from typing import Final

# Whoever has these sees and ends its own keys and sessions only; `keys:read` and `keys:write` mean the tenant's.
_OWN: Final = frozenset({"keys:own"})
_READ: Final = _OWN | {
    "agents:read",
    "projects:read",
    "events:read",
    "scores:read",
    "anomalies:read",
    "usage:read",
    "webhooks:read",
    "detect:read",
    "runs:read",
    "ledger:read",
    "budget:read",
}
_TELEMETRY: Final = _OWN | {
    "events:write",
    "telemetry:write",
    "app_rules:read",
    "detect:read",
    "detect:write",
    "usage:own",
    "webhooks:own",
    "runs:read",
    "runs:write",
    "budget:read",
}
_ANALYST: Final = _READ | {
    "scores:write",
    "anomalies:write",
    "detect:write",
    "policies:read",
    "runs:write",
    "audit:read",
    "webhooks:replay",
}
_BILLING: Final = _OWN | {
    "usage:read",
    "audit:own",
    "runs:read",
    "ledger:read",
    "ledger:write",
    "budget:read",
}
_ADMIN: Final = (
    _ANALYST
    | _TELEMETRY
    | _BILLING
    | {
        "agents:write",
        "projects:write",
        "app_rules:write",
        "risk:write",
        "anomalies:admin",
        "policies:write",
        "webhooks:write",
        "keys:read",
        "keys:write",
        "members:read",
        "members:write",
        "identity:read",
        "identity:write",
        "admin",
    }
)

ROLES: Final[dict[str, frozenset[str]]] = {
    "viewer": _READ,
    "analyst": _ANALYST,
    "admin": _ADMIN,
    "agent": _TELEMETRY,
    "billing": _BILLING,
    "platform": _ADMIN | {"platform"},
}
TENANT_ROLES: Final = frozenset(ROLES) - {"platform"}
SCOPES: Final[frozenset[str]] = frozenset().union(*ROLES.values())
