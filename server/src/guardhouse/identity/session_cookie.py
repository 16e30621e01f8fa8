"""The session's cookie: name and attributes (RFC 6265bis), and the writes it may not be used for."""

from collections.abc import Mapping
from typing import Final

from guardhouse.foundation.errors import Problem
from guardhouse.identity.sessions import ABSOLUTE

CONSOLE_HEADER: Final = "x-guardhouse-console"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class CsrfRefused(Problem):
    """A change came with a cookie and without proof that our own page asked for it."""

    status, code, title = 403, "csrf_refused", "Cross-site request refused"
    remediation = (
        "Send X-Guardhouse-Console: 1 from a page of this origin, or use an API key instead of the cookie."
    )


def cookie_name(public_url: str) -> str:
    """Return the cookie's name; under TLS its prefix makes browsers bind it to this host."""
    return "__Host-gh_session" if public_url.startswith("https://") else "gh_session"


def set_cookie(public_url: str, value: str) -> str:
    """Return the Set-Cookie header that gives a session to a browser."""
    secure = "; Secure" if public_url.startswith("https://") else ""
    seconds = int(ABSOLUTE.total_seconds())
    return f"{cookie_name(public_url)}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"


def clear_cookie(public_url: str) -> str:
    """Return the Set-Cookie header that takes it away."""
    secure = "; Secure" if public_url.startswith("https://") else ""
    return f"{cookie_name(public_url)}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax{secure}"


def check_origin(method: str, headers: Mapping[str, str]) -> None:
    """Let a change by cookie pass only when our own page sent it.

    Raises:
        CsrfRefused: the console's header is missing, or the browser says that another site asked.
    """
    if method in SAFE_METHODS:
        return
    if headers.get(CONSOLE_HEADER) != "1" or headers.get("sec-fetch-site") != "same-origin":
        raise CsrfRefused("A change by cookie needs X-Guardhouse-Console: 1, sent by a page of this origin.")
