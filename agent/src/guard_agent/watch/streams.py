"""The spools of one state folder: open one for a live run, find those that earlier runs left unsent.

A live stream is used again by the next run of the same agent, boot and alphabet, so its numbers go on; a
stream that another run still has open is left alone and a new one is made beside it.
"""

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from guard_agent.watch.spool import LIMIT_BYTES, Spool
from guard_agent.watch.stream import SpoolBusyError, Stream, read_stream

MIN_LIMIT_BYTES: Final = 16 * 1024 * 1024
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return the kernel's id of this boot; a fixed word where the kernel has none."""
    try:
        return _BOOT_ID.read_text("ascii").strip() or "unknown"
    except OSError:
        return "unknown"


def spool_folder(state: Path) -> Path:
    """Return the folder that holds one folder per stream."""
    return state / "spool"


def open_live(state: Path, agent_id: str, alphabet: str) -> Spool:
    """Open the spool of a live run.

    Raises:
        OSError: the state folder cannot be written.
    """
    boot = boot_id()
    used = 0
    for folder in _folders(state):
        used += sum(path.stat().st_size for path in folder.glob("*.seg"))
        stream = read_stream(folder)
        if stream is None or stream.about.get("source") != "live":
            continue
        if (stream.agent_id, stream.boot_id, stream.alphabet) == (agent_id, boot, alphabet):
            with contextlib.suppress(SpoolBusyError):
                return Spool(folder)
    name = str(uuid.uuid4())
    stream = Stream(name, agent_id, boot, alphabet, {"source": "live"})
    return Spool(spool_folder(state) / name, stream, limit_bytes=max(MIN_LIMIT_BYTES, LIMIT_BYTES - used))


def leftovers(state: Path, agent_id: str) -> Iterator[Spool]:
    """Yield the spools of this agent that nobody works with; the caller closes each with `close_spool`."""
    for folder in _folders(state):
        stream = read_stream(folder)
        if stream is None or stream.agent_id != agent_id or not stream.about.get("complete", True):
            continue
        with contextlib.suppress(SpoolBusyError, OSError):
            yield Spool(folder)


def close_spool(spool: Spool) -> bool:
    """Close a spool; remove its folder when all was delivered and its stream will not be used again."""
    done = spool.close()
    reused = spool.stream.about.get("source") == "live" and spool.stream.boot_id == boot_id()
    if done and not reused:
        shutil.rmtree(spool.folder, ignore_errors=True)
    return done


def _folders(state: Path) -> list[Path]:
    folder = spool_folder(state)
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
