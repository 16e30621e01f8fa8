"""Links to results for whoever holds them: signed, for one object of one tenant, for ten minutes."""

import base64
import binascii
import hmac
from datetime import datetime, timedelta
from typing import Final

import msgspec

from guardhouse.foundation.errors import Problem
from guardhouse.foundation.resources import Resources

LIVES: Final = timedelta(seconds=600)
MOST_CHARACTERS: Final = 2_048
_PURPOSE: Final = b"guardhouse object links"


class SignedUrlInvalid(Problem):
    """The link was not made here, or was changed."""

    status, code, title = 403, "signed_url_invalid", "Link invalid"
    remediation = "Read the run again: each answer has fresh links."


class SignedUrlExpired(Problem):
    """The link's ten minutes are over."""

    status, code, title = 403, "signed_url_expired", "Link expired"
    remediation = "Read the run again: each answer has fresh links."


class Link(msgspec.Struct, frozen=True, array_like=True):
    """What a link opens: an object by key, its name, type, length and SHA-256 (hex), until a Unix second."""

    key: str
    name: str
    media_type: str
    size: int
    sha256: str
    expires: int


def sign(resources: Resources, link: Link) -> str:
    """Return the token of a link."""
    payload = msgspec.msgpack.encode(link)
    mac = hmac.digest(resources.master_key.derived(_PURPOSE)[0], payload, "sha256")
    return f"{_text(payload)}.{_text(mac)}"


def read(resources: Resources, token: str, now: datetime) -> Link:
    """Return what a token opens.

    Raises:
        SignedUrlInvalid: changed, or not made here.
        SignedUrlExpired: its time is over.
    """
    body, _, end = token[:MOST_CHARACTERS].partition(".")
    try:
        payload, mac = _bytes(body), _bytes(end)
        genuine = any(
            hmac.compare_digest(hmac.digest(key, payload, "sha256"), mac)
            for key in resources.master_key.derived(_PURPOSE)
        )
        link = msgspec.msgpack.decode(payload, type=Link) if genuine else None
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        link = None
    if link is None:
        raise SignedUrlInvalid("The link is not one that this server made.")
    if link.expires <= now.timestamp():
        raise SignedUrlExpired("The link has expired; links live for ten minutes.")
    return link


def digest_text(sha256: str) -> str:
    """Return a hexadecimal digest as Content-Digest has it (RFC 9530)."""
    return base64.b64encode(bytes.fromhex(sha256)).decode()


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
