"""The page of a sign-in that failed: what happened, what to do, and what to quote; nothing that came from outside."""

import base64
import hashlib
from html import escape
from typing import Final

_STYLE: Final = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:4rem auto;padding:0 1rem;"
    "background:#fff;color:#1a1a1a}code{font-size:.95em}a{color:#0b57d0}"
    "@media(prefers-color-scheme:dark){body{background:#16181c;color:#e8e8e8}a{color:#8ab4f8}}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "Cache-Control": "no-store",
}


def failed_page(reason: str, code: str, correlation_id: str, again: str | None) -> str:
    """Return the page; ``again`` is the path that begins a new sign-in, if one can be begun."""
    once_more = f'<p><a href="{escape(again)}">Try to sign in again</a></p>' if again else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Not signed in</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main><h1>You are not signed in</h1>"
        f"<p>{escape(reason)}</p>{once_more}"
        "<p>If it happens again, give an admin these two words: "
        f"<code>{escape(code)}</code> <code>{escape(correlation_id)}</code></p></main></body></html>"
    )
