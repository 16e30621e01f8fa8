"""The object store: bytes under a key, whole or not at all. A local folder now; S3 is the second adapter."""

import asyncio
import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_SUFFIX = "@"  # in no key, so that `a` and `a/b` can both be there: a file and a folder
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,127}){0,7}")


class ObjectExists(Exception):  # noqa: N818 - a fact the caller asked about, not a fault
    """An object with this key is there already and was not touched."""


class ObjectAbsent(Exception):  # noqa: N818 - as ObjectExists
    """There is no object with this key."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What is known of an object: its key, its size in bytes and the SHA-256 of its content (hex)."""

    key: str
    size_bytes: int
    sha256: str


class ObjectStore(Protocol):
    """The port. Every adapter passes ``server/tests/objects``."""

    async def put(self, key: str, content: bytes) -> StoredObject:
        """Store content under a new key, durable when this returns.

        Raises:
            ObjectExists: the key is taken.
            ValueError: the key is not one to eight plain path parts.
        """
        ...

    async def get(self, key: str) -> bytes:
        """Return the content.

        Raises:
            ObjectAbsent: there is none.
        """
        ...

    async def delete(self, key: str) -> None:
        """Remove the object; removing an absent one is no error."""
        ...


@dataclass(frozen=True, slots=True)
class LocalObjects:
    """A folder on this machine. Written beside, synced, then linked into place: no reader sees half of it."""

    root: Path

    async def put(self, key: str, content: bytes) -> StoredObject:
        """See :class:`ObjectStore`."""
        await asyncio.to_thread(self._put, self._path(key), content)
        return StoredObject(key, len(content), hashlib.sha256(content).hexdigest())

    async def get(self, key: str) -> bytes:
        """See :class:`ObjectStore`."""
        try:
            return await asyncio.to_thread(self._path(key).read_bytes)
        except FileNotFoundError:
            raise ObjectAbsent(key) from None

    async def delete(self, key: str) -> None:
        """See :class:`ObjectStore`."""
        await asyncio.to_thread(self._path(key).unlink, missing_ok=True)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"not an object key: {key!r}")
        return self.root / f"{key}{_SUFFIX}"

    def _put(self, path: Path, content: bytes) -> None:
        folders = [folder for folder in path.parents if folder.is_relative_to(self.root)]
        for folder in reversed(folders):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
        try:
            with open(part, "xb", opener=_private) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(part, path)
            except FileExistsError:
                raise ObjectExists(path.name.removesuffix(_SUFFIX)) from None
        finally:
            part.unlink(missing_ok=True)
        for folder in dict.fromkeys((*folders, self.root.parent)):  # each may be new in the one above it
            _sync(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
