"""What a stream carries from one piece to the next: sealed, so that nobody but this tenant's next call can use it.

The server keeps nothing. A carry is good for ten minutes; the same one may be used again with the same piece, so that
a call that was lost can be repeated.
"""

import base64
import binascii
import hashlib
import zlib
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from guardhouse.detections.output.read_output import WantedPiece
from guardhouse.detections.policy import Action
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.seal import CannotOpen, MasterKey

GOOD_FOR: Final = timedelta(minutes=10)
MOST_CHARACTERS: Final = 4_096


class CarryInvalid(Problem):
    """The carry was changed, has expired, is another tenant's, or belongs to other settings or another piece."""

    status, code, title = 422, "carry_invalid", "The carry is not good"
    remediation = (
        "Stop the stream: what has not been released must not be shown. Scan the whole answer with"
        " POST /api/v1/detect/output, or begin again without a carry."
    )

    def __init__(self, reason: str) -> None:
        detail = f"`carry` cannot be used: {reason.replace('_', ' ')}."
        error = {"pointer": "/carry", "code": self.code, "detail": detail}
        super().__init__(detail, errors=[error], reason=reason)


class Carry(msgspec.Struct, frozen=True, array_like=True):
    """Where a stream stands.

    Args:
        sequence: The number of the piece to come.
        expires: Unix seconds.
        asked: A digest of what must be the same with every piece.
        policy: The policy that judged so far, and its version.
        worst: The gravest action so far.
        shown: How many code points may have been shown.
        held: What the scanner carries.
    """

    sequence: int
    expires: int
    asked: bytes
    policy: UUID
    policy_version: int
    worst: Action
    shown: int
    held: bytes


_to_bytes = msgspec.msgpack.Encoder().encode
_from_bytes = msgspec.msgpack.Decoder(Carry).decode


def seal_carry(master_key: MasterKey, tenant_id: UUID, carry: Carry) -> str:
    """Return a carry as the caller gets it."""
    sealed = master_key.seal(zlib.compress(_to_bytes(carry)), _purpose(tenant_id))
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def open_carry(master_key: MasterKey, tenant_id: UUID, text: str, piece: WantedPiece, now: datetime) -> Carry:
    """Return what a carry says.

    Raises:
        CarryInvalid: it is not one of this tenant, has expired, or does not go with this piece.
    """
    if len(text) > MOST_CHARACTERS:
        raise CarryInvalid("tampered")
    try:
        sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        carry = _from_bytes(zlib.decompress(master_key.open(sealed, _purpose(tenant_id))))
    except (CannotOpen, binascii.Error, ValueError, zlib.error):  # msgspec's errors are ValueErrors
        raise CarryInvalid("tampered") from None
    if carry.expires < int(now.timestamp()):
        raise CarryInvalid("expired")
    if piece.sequence is not None and piece.sequence != carry.sequence:
        raise CarryInvalid("out_of_sequence")
    if carry.asked != asked(piece):
        raise CarryInvalid("settings_changed")
    return carry


def expiry(now: datetime) -> int:
    """Return until when a carry made now is good, in Unix seconds."""
    return int((now + GOOD_FOR).timestamp())


def asked(piece: WantedPiece) -> bytes:
    """Return a digest of what must be the same with every piece of a stream."""
    said = (piece.scan.system_prompt, piece.scan.protected_texts, piece.scan.policy)
    return hashlib.blake2b(msgspec.msgpack.encode(said), digest_size=16).digest()


def _purpose(tenant_id: UUID) -> str:
    return f"guardhouse stream of an answer {tenant_id}"
