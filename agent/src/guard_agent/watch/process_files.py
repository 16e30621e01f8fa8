"""Follow the working directory and the unnamed files (memfd) of a process, so that an exec can be named."""

import re
from typing import Any, Final

from guard_agent.watch.processes import MAX_DIRECTORY_CHARS, MAX_MEMFDS, Process
from guard_agent.watch.strace_args import join_path
from guard_agent.watch.strace_line import Result, read_descriptor

MAX_NAME: Final = 249  # memfd_create(2)
_OWN_DESCRIPTOR: Final = re.compile(r"/(?:proc/(?:self|\d+)|dev)/fd/(\d{1,9})$")


def follow_call(
    process: Process, name: str, arguments: list[str], kept: dict[str, Any], result: Result
) -> None:
    """Learn from one call, done or failed, what later calls of the process need."""
    if arguments and arguments[0].startswith("AT_FDCWD<"):
        directory = read_descriptor(arguments[0])[1]
        if directory is not None and directory.startswith("/"):
            _move(process, directory)
    if result.errno is not None:
        return
    if name == "chdir" and "path" in kept:
        moved = join_path(process.directory, kept["path"])
        _move(process, moved if moved.startswith("/") else None)
    elif name == "fchdir":
        _move(process, kept.get("path"))
    elif name == "memfd_create" and result.ret is not None and len(process.memfds) < MAX_MEMFDS:
        process.memfds[result.ret] = f"/memfd:{kept.get('name', '')[:MAX_NAME]} (deleted)"
    elif name in ("dup", "dup2", "dup3") and result.ret is not None:
        copied = process.memfds.get(kept.get("fd", -1))
        if copied is None:
            process.memfds.pop(result.ret, None)
        elif len(process.memfds) < MAX_MEMFDS:
            process.memfds[result.ret] = copied


def _move(process: Process, directory: str | None) -> None:
    """Note a working directory; one longer than is kept is not known."""
    kept = directory is not None and len(directory) <= MAX_DIRECTORY_CHARS
    process.directory = directory if kept else None


def name_program(process: Process, kept: dict[str, Any]) -> str:
    """Name the program of a successful exec; `/proc/self/fd/N` is looked through to the unnamed file."""
    path: str = kept.get("path2") or kept.get("path") or ""
    through = _OWN_DESCRIPTOR.match(path)
    if through is not None:
        return process.memfds.get(int(through.group(1)), path)
    return path
