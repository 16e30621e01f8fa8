"""Codings of a request body: which one is used, and the coded bytes."""

import importlib
import importlib.util
import zlib
from functools import cache
from typing import Any, Final

_GZIP: Final = 31
_LEVEL: Final = 6
_ZSTD_LEVEL: Final = 3


def choose_coding(wanted: str, *, enabled: bool, native: bool) -> str:
    """Return `gzip`, `zstd` or `none`. `auto` is zstd where the server is known to read it and the extra is there."""
    if not enabled or wanted == "none":
        return "none"
    if wanted == "zstd" or (wanted == "auto" and native):
        return "zstd" if load_zstandard() is not None else "gzip"
    return "gzip"


def encode_body(body: bytes, coding: str) -> bytes:
    """Return the bytes on the wire; the same bytes for the same body."""
    if coding == "gzip":
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        return packer.compress(body) + packer.flush()
    if coding == "zstd":
        return bytes(load_zstandard().ZstdCompressor(level=_ZSTD_LEVEL).compress(body))
    return body


@cache
def load_zstandard() -> Any:
    """Return the module of the extra `zstd`, None where it is not installed."""
    if importlib.util.find_spec("zstandard") is None:
        return None
    return importlib.import_module("zstandard")
