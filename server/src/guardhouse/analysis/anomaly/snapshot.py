"""State to bytes and back: equal state gives equal bytes, and bytes that were changed are refused.

Layout: the magic, a version (uint16), the length of the header (uint32), a header in canonical JSON, the arrays in
little-endian order one after another, SHA-256 over all of it. A state is a tree of dictionaries, lists, numbers,
strings, bytes, None and numpy arrays; arrays that are mostly zero are written as positions and values.
"""

import hashlib
import json
import struct
from typing import Any, Final

import numpy as np

MAGIC: Final = b"GHANOM"
VERSION: Final = 1
_HEAD: Final = struct.Struct("<6sHI")
_CHECKSUM: Final = 32
_SPARSE_BELOW: Final = 4
"""Positions take 4 bytes and values up to 8: writing them pays when fewer than one cell in four is used."""
_ARRAY, _BYTES = "$array", "$bytes"


class BadSnapshotError(ValueError):
    """The bytes are no state, were changed, or come from another version; the message says which."""


def to_bytes(state: dict[str, Any]) -> bytes:
    """Write a state."""
    blobs: list[bytes] = []
    header = json.dumps(
        _described(state, blobs), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()
    body = b"".join([_HEAD.pack(MAGIC, VERSION, len(header)), header, *blobs])
    return body + hashlib.sha256(body).digest()


def from_bytes(raw: bytes) -> dict[str, Any]:
    """Read a state; raises `BadSnapshotError`."""
    if len(raw) < _HEAD.size + _CHECKSUM or not raw.startswith(MAGIC):
        raise BadSnapshotError("these bytes are no state of a stream")
    body = raw[:-_CHECKSUM]
    if not raw.endswith(hashlib.sha256(body).digest()):
        raise BadSnapshotError("the state was changed or is incomplete")
    _, version, length = _HEAD.unpack_from(body)
    if version != VERSION:
        raise BadSnapshotError(f"the state has version {version}, this engine reads {VERSION}")
    header = json.loads(body[_HEAD.size : _HEAD.size + length])
    state: dict[str, Any] = _restored(header, _Reader(body, _HEAD.size + length))
    return state


def _described(node: Any, blobs: list[bytes]) -> Any:
    match node:
        case dict():
            return {key: _described(node[key], blobs) for key in sorted(node)}
        case list() | tuple():
            return [_described(one, blobs) for one in node]
        case bytes():
            blobs.append(node)
            return {_BYTES: len(node)}
        case np.ndarray():
            return _described_array(node, blobs)
        case None | bool() | int() | float() | str():
            return node
    raise TypeError(f"a state cannot hold {type(node).__name__}")


def _described_array(array: np.ndarray[Any, Any], blobs: list[bytes]) -> dict[str, Any]:
    kind = array.dtype.newbyteorder("<")
    if array.dtype.kind not in "biuf":
        raise TypeError(f"a state cannot hold an array of {array.dtype}")
    description: dict[str, Any] = {_ARRAY: kind.str, "shape": list(array.shape)}
    used = np.flatnonzero(array)
    if used.size * _SPARSE_BELOW < array.size and array.size <= np.iinfo(np.uint32).max:
        description["used"] = int(used.size)
        blobs.append(used.astype("<u4").tobytes())
        array = array.reshape(-1)[used]
    blobs.append(np.ascontiguousarray(array, kind).tobytes())
    return description


class _Reader:
    """Takes the blobs in the order in which they were written."""

    def __init__(self, body: bytes, at: int) -> None:
        self._body = body
        self._at = at

    def take(self, length: int) -> bytes:
        """The next ``length`` bytes."""
        self._at += length
        return self._body[self._at - length : self._at]

    def array(self, kind: np.dtype[Any], count: int) -> np.ndarray[Any, Any]:
        """The next ``count`` numbers, in the machine's own byte order and writable."""
        return np.frombuffer(self.take(kind.itemsize * count), kind).astype(kind.newbyteorder("="))


def _restored(node: Any, reader: _Reader) -> Any:
    match node:
        case {"$array": str(kind)}:
            return _restored_array(node, np.dtype(kind), reader)
        case {"$bytes": int(length)}:
            return reader.take(length)
        case dict():
            return {key: _restored(node[key], reader) for key in sorted(node)}
        case list():
            return [_restored(one, reader) for one in node]
    return node


def _restored_array(node: dict[str, Any], kind: np.dtype[Any], reader: _Reader) -> np.ndarray[Any, Any]:
    count = int(np.prod(node["shape"], dtype=np.int64))
    if "used" not in node:
        return reader.array(kind, count).reshape(node["shape"])
    places = reader.array(np.dtype("<u4"), node["used"])
    full = np.zeros(count, kind.newbyteorder("="))
    full[places] = reader.array(kind, node["used"])
    return full.reshape(node["shape"])
