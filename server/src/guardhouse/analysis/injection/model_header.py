"""The beginning and the end of a model file ``injection.ghm``: is it whole, and does it belong to the data beside it?

Needs nothing but the standard library, so that a process that judges no text can ask.
"""

import hashlib
import json
import struct
from typing import Any, Final

MAGIC: Final = b"GHIM"
FORMAT: Final = 1
ALIGNMENT: Final = 64
START: Final = struct.Struct("<4sHI")
CHECKSUM: Final = 32


class BadArtefactError(ValueError):
    """The model file is not one, is damaged, or was made for another normaliser or other data; says both values."""


def read_header(content: bytes, data: dict[str, str]) -> tuple[dict[str, Any], int]:
    """Check a model file and return its header and where the weights begin.

    Args:
        content: The whole file.
        data: SHA-256 of each data file the model was trained with, by name; all must be those of the header.

    Raises:
        BadArtefactError: Magic, checksum, format or a data file does not fit.
    """
    if len(content) < START.size + CHECKSUM or content[:4] != MAGIC:
        raise BadArtefactError(f"this is no model file: it starts with {content[:4]!r}, not {MAGIC!r}")
    said, is_sum = content[-CHECKSUM:].hex(), hashlib.sha256(content[:-CHECKSUM]).hexdigest()
    if said != is_sum:
        raise BadArtefactError(f"the model file is damaged: it says SHA-256 {said}, its content has {is_sum}")
    _, number, length = START.unpack_from(content)
    if number != FORMAT:
        raise BadArtefactError(f"the model file has format {number}, this engine reads {FORMAT}")
    header: dict[str, Any] = json.loads(content[START.size : START.size + length])
    for name, is_now in sorted(data.items()):
        if header["data"].get(name) != is_now:
            raise BadArtefactError(
                f"{name} has SHA-256 {is_now}, the model was trained with {header['data'].get(name)}"
            )
    return header, -(-(START.size + length) // ALIGNMENT) * ALIGNMENT
