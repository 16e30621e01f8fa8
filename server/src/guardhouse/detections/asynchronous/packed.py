"""What was asked, as it waits: the decoded JSON, so that the worker reads it as the door would have."""

from collections.abc import Sequence
from typing import Any

import msgspec
import zstandard

from guardhouse.detections.read_request import Wanted, wanted_of


class _Packed(msgspec.Struct):
    asked: dict[str, Any]
    warnings: list[str]
    replaced: bool


def pack(asked: dict[str, Any], warnings: Sequence[str] = (), *, replaced: bool = False) -> bytes:
    """Return a body in its stored form."""
    return zstandard.compress(msgspec.json.encode(_Packed(asked, list(warnings), replaced)))


def unpack(packed: bytes) -> Wanted:
    """Return the detection that a stored body asks for.

    Raises:
        Problem: it asks for what there is not; the door let it pass before that was so.
    """
    found = msgspec.json.decode(zstandard.decompress(packed), type=_Packed)
    return wanted_of(found.asked, found.warnings, replaced=found.replaced)
