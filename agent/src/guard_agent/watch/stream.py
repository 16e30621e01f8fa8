"""The constant part of every batch of one spool, kept in the spool's folder, and the lock on that folder."""

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

FILE_NAME: Final = "stream.json"


class SpoolBusyError(Exception):
    """Another process works with this spool."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What every batch of a spool says about itself; `about` says where the events came from."""

    stream: str
    agent_id: str
    boot_id: str
    alphabet: str
    about: dict[str, Any] = field(default_factory=dict)


def read_stream(folder: Path) -> Stream | None:
    """Return what a spool folder says about its stream, None when it is none."""
    try:
        return Stream(**json.loads((folder / FILE_NAME).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_stream(folder: Path, stream: Stream) -> None:
    """Write a stream's file in one step.

    Raises:
        OSError: the folder cannot be written.
    """
    draft = folder / (FILE_NAME + ".new")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(asdict(stream), file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / FILE_NAME)


def open_stream(folder: Path, stream: Stream | None) -> Stream:
    """Return the folder's own stream, else write `stream` into it.

    Raises:
        FileNotFoundError: it has none, and none is given.
    """
    found = read_stream(folder)
    if found is not None:
        return found
    if stream is None:
        raise FileNotFoundError(2, "no spool here", str(folder))
    write_stream(folder, stream)
    return stream


def lock_folder(folder: Path) -> int:
    """Take the folder for this process until the returned descriptor is closed.

    Raises:
        SpoolBusyError: another process has it.
    """
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise SpoolBusyError(f"another process works with {folder}") from None
    return file
