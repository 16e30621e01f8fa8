"""The folder that holds a house's local state: locked by one process, its secrets readable by their owner alone.

Everything the house writes for itself goes through :meth:`DataFolder.write`: mode 0600, replaced by
rename, so that a reader sees the old text or the new one and never a half.
"""

import errno
import fcntl
import json
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from guardhouse.foundation.start_error import StartError

LOCK_NAME = "lock"


class DataFolder:
    """A data folder held by this process from :meth:`open` to :meth:`close`; the lock dies with the process."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def open(cls, path: Path) -> Self:
        """Create ``path`` where needed and lock it; raises :class:`StartError` naming the process that holds it."""
        path = path.expanduser().absolute()
        try:
            create_private_folder(path)
            lock = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(folder_sentence(path, error)) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise StartError(
                f"The data folder {path} is in use by process {holder}: stop it first (kill {holder}) "
                "or name another folder with --data-dir."
            ) from error
        except OSError as error:
            os.close(lock)
            raise StartError(folder_sentence(path, error)) from error
        return cls(path, lock)

    def close(self) -> None:
        """Give the folder free; closing twice is allowed."""
        if self._lock >= 0:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, name: str) -> dict[str, Any]:
        """Return the JSON object in the file ``name``, empty when there is none."""
        return read_object(self.path / name)

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Replace the file ``name`` by ``value`` as JSON, mode 0600."""
        try:
            write_private(self.path / name, json.dumps(value, indent=1) + "\n")
        except OSError as error:
            raise StartError(folder_sentence(self.path / name, error)) from error


def create_private_folder(path: Path) -> None:
    """Create ``path`` for its owner alone.

    Made by root it may be passed through (0711) but not listed: the database runs as another user below it.
    """
    if path.is_dir():
        return
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o711 if os.geteuid() == 0 else 0o700)


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in the file at ``path``, empty when there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except PermissionError as error:
        raise StartError(
            f"This user may not read {path}: run the command as the one who started the house."
        ) from error
    except (OSError, ValueError) as error:
        raise StartError(f"{path} cannot be read as JSON ({error}): restore it from a backup.") from error
    if not isinstance(found, dict):
        raise StartError(f"{path} does not hold a JSON object: restore it from a backup.")
    return found


def write_private(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` with mode 0600 by renaming a synced neighbour onto it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def folder_sentence(path: Path, error: OSError) -> str:
    """Return one sentence with a remedy for an error of the file system at ``path``."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"There is no space left for {path}: free some or name another folder with --data-dir."
        case errno.EACCES | errno.EPERM:
            return (
                f"This user may not write to {path}: change its owner or name another folder with --data-dir."
            )
        case errno.EROFS:
            return f"{path} is on a read-only file system: name another folder with --data-dir."
        case errno.ENOTDIR | errno.EEXIST:
            return f"{path} cannot be a folder, a file is in the way: name another folder with --data-dir."
        case _:
            return f"{path} cannot be used: {error.strerror or error}."
