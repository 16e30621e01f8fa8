"""One sentence with a remedy for what PostgreSQL and its drivers raise when a command cannot use it."""

import socket
from urllib.parse import urlsplit

import asyncpg
from alembic.util import CommandError

# The first cause of an error that is one of these decides; `{place}` and `{said}` are filled in.
_SENTENCES: list[tuple[type[BaseException], str]] = [
    (
        CommandError,
        "The schema of {place} is not one that this version knows: {said}; run the version that made it.",
    ),
    (asyncpg.InvalidAuthorizationSpecificationError, "{place} refuses the login {user}: correct the URL."),
    (asyncpg.InvalidCatalogNameError, "{place} has no database {database}: create it or correct the URL."),
    (asyncpg.InsufficientPrivilegeError, "{place} does not allow this to {user}: {said}."),
    (asyncpg.CannotConnectNowError, "{place} takes no connections at the moment: {said}."),
    (asyncpg.TooManyConnectionsError, "{place} has no connection left: {said}."),
    (asyncpg.DiskFullError, "{place} has no disk space left: free some and start again."),
    (socket.gaierror, "The host {host} is not known: correct the database URL."),
    (asyncpg.PostgresError, "{place} reports: {said}."),
    (OSError, "{place} cannot be reached: start it or correct the database URL."),
]


def explain(error: BaseException, url: str) -> str:
    """Return why the database at ``url`` is of no use; the address is named without its password."""
    parts = urlsplit(url)
    host = parts.hostname or "the local socket"
    causes = _causes(error)
    words = {
        "place": f"PostgreSQL at {host}:{parts.port or 5432}",
        "host": host,
        "user": parts.username,
        "database": parts.path.lstrip("/"),
    }
    for kind, sentence in _SENTENCES:
        for cause in causes:
            if isinstance(cause, kind):
                return sentence.format(said=_first_line(cause), **words)
    return f"{words['place']} cannot be used: {_first_line(causes[-1])}."


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        original = getattr(current, "orig", None)  # SQLAlchemy's wrapper of the driver's error
        current = (
            original if isinstance(original, BaseException) else current.__cause__ or current.__context__
        )
    return found


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")
