# This module belongs to guardhouse-agent.
"""The signature of a payload: HMAC-SHA256 over the uncompressed JSON that is sent."""

import hashlib
import hmac

SIGNATURE_HEADER = "X-Payload-Signature"


def sign_payload(body: bytes, *, secret: str) -> str:
    """Return `v1=<64 lower-case hex>` for the header `X-Payload-Signature`."""
    return f"v1={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
