"""Other addresses of the same operations: a request is moved to the canonical path before it is routed.

Nothing is redirected. Signatures cover the address that was called: `raw_path` stays as it came.
"""

from typing import Final

CANONICAL: Final = "/api/v1/"
SHORT: Final = "/v1/"
ADMIN: Final = "/admin/"
DOUBLED: Final = "/api/v1/api/v1/"
# These short paths are OTLP's own, as its clients have them by default.
OTLP_PREFIX: Final = "/otlp"
OTLP: Final = frozenset({"/v1/logs", "/v1/metrics", "/v1/traces"})
# What agents call, some of them with a prefix configured twice or a slash too many (agents.md §2.1).
AGENT_PATHS: Final = frozenset(
    f"/api/v1/{name}" for name in ("events", "events/encrypted", "metrics", "status", "rules")
)
# Addresses of single documents.
DOCUMENTS: Final = {
    "/.well-known/openapi.json": "/api/v1/openapi.json",
    "/docs": "/api/v1/docs",
    "/redoc": "/api/v1/docs",
}


def canonical(path: str) -> str:
    """Return the canonical path that an address stands for; itself where it is no alias."""
    if path.startswith(SHORT):
        if path.removesuffix("/") in OTLP:
            return OTLP_PREFIX + path.removesuffix("/")
        path = CANONICAL + path.removeprefix(SHORT)
    elif path.startswith(DOUBLED):
        once = path.removeprefix("/api/v1")
        if once.removesuffix("/") in AGENT_PATHS:
            path = once
    elif path.startswith(ADMIN):
        path = "/api/v1" + path
    elif path in DOCUMENTS:
        return DOCUMENTS[path]
    return path[:-1] if path[-1:] == "/" and path[:-1] in AGENT_PATHS else path


def aliases_of(path: str) -> list[str]:
    """Return the other addresses of a canonical path, as the contract lists them."""
    found = [path.removeprefix(OTLP_PREFIX)] if path.removeprefix(OTLP_PREFIX) in OTLP - {path} else []
    if path.startswith(CANONICAL):
        short = SHORT + path.removeprefix(CANONICAL)
        found += [short] if short not in OTLP else []
        found += [ADMIN + path.removeprefix("/api/v1/admin/")] if path.startswith("/api/v1/admin/") else []
        found += ["/api/v1" + path] if path in AGENT_PATHS else []
    return found + [alias for alias, target in DOCUMENTS.items() if target == path]
