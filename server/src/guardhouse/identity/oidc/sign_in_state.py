"""What a browser carries between going to an issuer and coming back: sealed, for ten minutes, in one cookie.

State and nonce in it tie the answer to this browser; the PKCE verifier (RFC 7636) never leaves cookie and server.
"""

import base64
import binascii
import hashlib
import json
import secrets
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from guardhouse.foundation.seal import CannotOpen, MasterKey

SECONDS: Final = 600
_PURPOSE: Final = "oidc sign-in"
_PATH: Final = "/auth/oidc"


@dataclass(frozen=True, slots=True)
class SignInState:
    """One sign-in under way; ``until`` is in Unix seconds."""

    issuer_id: str
    state: str
    nonce: str
    verifier: str
    onward: str
    until: int

    @property
    def challenge(self) -> str:
        """The S256 challenge of the verifier (RFC 7636 §4.2)."""
        return _encode(hashlib.sha256(self.verifier.encode()).digest())


def begin(issuer_id: str, onward: str, now: datetime) -> SignInState:
    """Return a fresh state for a sign-in that goes on to ``onward``."""
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    return SignInState(issuer_id, state, nonce, verifier, onward, int(now.timestamp()) + SECONDS)


def pack(state: SignInState, master_key: MasterKey) -> str:
    """Return the cookie's value."""
    return _encode(master_key.seal(json.dumps(asdict(state)).encode(), _PURPOSE))


def unpack(value: str | None, master_key: MasterKey, now: datetime) -> SignInState | None:
    """Return the state in a cookie; None when there is none, it is not ours, or its ten minutes are over."""
    try:
        sealed = base64.b64decode(
            (value or "") + "=" * (-len(value or "") % 4), altchars=b"-_", validate=True
        )
        state = SignInState(**json.loads(master_key.open(sealed, _PURPOSE)))
    except (CannotOpen, binascii.Error, ValueError):
        return None
    return state if now.timestamp() < state.until else None


def cookie_name(public_url: str) -> str:
    """Return the cookie's name; under TLS its prefix makes browsers take it over TLS alone."""
    return "__Secure-gh_oidc" if public_url.startswith("https://") else "gh_oidc"


def set_cookie(public_url: str, value: str) -> str:
    """Return the Set-Cookie header that gives the state to the browser; an empty value takes it away."""
    secure = "; Secure" if public_url.startswith("https://") else ""
    seconds = SECONDS if value else 0
    name = cookie_name(public_url)
    return f"{name}={value}; Path={_PATH}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
