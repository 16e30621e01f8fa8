"""Remember what each descriptor of a process is, as far as its audited calls tell it.

Audit records give descriptors as bare numbers; a `dup2` onto standard input tells a rule nothing unless it is
known that the copied one is a socket. Bounded per process; past the bound the oldest is forgotten.
"""

from collections.abc import Callable
from typing import Final

from guard_agent.watch.audit_args import address_family, family_name
from guard_agent.watch.audit_call import AuditCall
from guard_agent.watch.processes import Descriptor, Process
from guard_agent.watch.strace_args import join_path

MAX_DESCRIPTORS: Final = 16
MAX_PATH_CHARS: Final = 128
O_CLOEXEC: Final = 0o2000000
SOCK_CLOEXEC: Final = O_CLOEXEC
MFD_CLOEXEC: Final = 1


def remember(process: Process, fd: int, descriptor: Descriptor) -> None:
    """Note what a descriptor is from now on."""
    held = process.descriptors
    held.pop(fd, None)
    if descriptor.path is not None and len(descriptor.path) > MAX_PATH_CHARS:
        descriptor = descriptor._replace(path=None)
    held[fd] = descriptor
    if len(held) > MAX_DESCRIPTORS:
        del held[next((old for old in held if old > 2), fd)]  # noqa: PLR2004 -- the standard streams stay


def copy(process: Process, fd: int | None, new: int | None, *, closes: bool) -> None:
    """Note that `new` is the same as `fd` from now on."""
    if fd is None or new is None or new < 0:
        return
    known = process.descriptors.get(fd)
    if known is None:
        process.descriptors.pop(new, None)
    elif fd != new:
        remember(process, new, known._replace(closes=closes))


def close_on_exec(process: Process) -> None:
    """Forget what an exec closes, and what nobody said stays open."""
    process.descriptors = {fd: held for fd, held in process.descriptors.items() if held.closes is False}


def follow(process: Process, call: AuditCall) -> None:
    """Learn from one call, done or failed, what descriptors are afterwards."""
    follower = _FOLLOWERS.get(call.name)
    if follower is not None:
        follower(process, call)


def _connected(process: Process, call: AuditCall) -> None:
    """A connect that has not finished, or failed, still says what its descriptor is."""
    fd, kind = call.int_arg(0), address_family(call)
    if fd is None or fd < 0 or kind in (None, "unspec"):
        return
    known = process.descriptors.get(fd)
    if known is None or known.kind != kind:
        remember(process, fd, Descriptor(kind or "socket", None, None if known is None else known.closes))


def _bound(process: Process, call: AuditCall) -> None:
    if not call.failed:
        _connected(process, call)


def _made_socket(process: Process, call: AuditCall) -> None:
    if call.ret is None or call.ret < 0:
        return
    kind = family_name(call.int_arg(0) or 0) or "socket"
    remember(process, call.ret, Descriptor(kind, None, bool((call.arg(1) or 0) & SOCK_CLOEXEC)))


def _accepted(process: Process, call: AuditCall) -> None:
    if call.ret is None or call.ret < 0:
        return
    listening = process.descriptors.get(call.int_arg(0) or 0)
    kind = address_family(call) or (listening.kind if listening is not None else "socket")
    flags = (call.arg(3) or 0) if call.name == "accept4" else 0
    remember(process, call.ret, Descriptor(kind, None, bool(flags & SOCK_CLOEXEC)))


def _made_memfd(process: Process, call: AuditCall) -> None:
    if call.ret is not None and call.ret >= 0:
        remember(process, call.ret, Descriptor("memfd", None, bool((call.arg(1) or 0) & MFD_CLOEXEC)))


def _made_pair(process: Process, call: AuditCall) -> None:
    if call.failed or call.pair is None:
        return
    flags = {"pipe2": call.arg(1), "socketpair": call.arg(1)}.get(call.name) or 0
    kind = "pipe" if call.name != "socketpair" else family_name(call.int_arg(0) or 0) or "socket"
    for fd in call.pair:
        if fd >= 0:
            remember(process, fd, Descriptor(kind, None, bool(flags & O_CLOEXEC)))


def _opened(process: Process, call: AuditCall) -> None:
    if call.ret is None or call.ret < 0:
        return
    at = {"open": 1, "openat": 2}.get(call.name)
    flags = (call.arg(at) or 0) if at is not None else 0
    named = [path.name for path in call.paths if path.kind != "PARENT"]
    path = join_path(call.directory, named[-1]) if named else ""
    closes = bool(flags & O_CLOEXEC) if call.name != "openat2" else None
    remember(process, call.ret, Descriptor("file", path if path.startswith("/") else None, closes))


def _duplicated(process: Process, call: AuditCall) -> None:
    if not call.failed:
        new = call.ret if call.ret is not None else call.int_arg(1)
        closes = call.name == "dup3" and bool((call.arg(2) or 0) & O_CLOEXEC)
        copy(process, call.int_arg(0), new, closes=closes)


def _closed(process: Process, call: AuditCall) -> None:
    fd = call.int_arg(0)
    if fd is not None:
        process.descriptors.pop(fd, None)


_FOLLOWERS: Final[dict[str, Callable[[Process, AuditCall], None]]] = {
    "accept": _accepted,
    "accept4": _accepted,
    "bind": _bound,
    "close": _closed,
    "connect": _connected,
    "creat": _opened,
    "dup": _duplicated,
    "dup2": _duplicated,
    "dup3": _duplicated,
    "memfd_create": _made_memfd,
    "open": _opened,
    "openat": _opened,
    "openat2": _opened,
    "pipe": _made_pair,
    "pipe2": _made_pair,
    "socket": _made_socket,
    "socketpair": _made_pair,
}
