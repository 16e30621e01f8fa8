"""What leaves an engine process of a string that may be a canary: 100 random bits are not found again in a digest."""

import hashlib


def token_digest(token: str) -> str:
    """Return SHA-256 of a token in lower case, in hex."""
    return hashlib.sha256(token.lower().encode()).hexdigest()
