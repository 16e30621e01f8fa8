"""What the engine itself notes about a process from its calls.

Sockets, listening, memory files, namespaces, user.

Invariant: an observer only changes flags, descriptors and the user id of the process it is given; rules
judge.
"""

from collections.abc import Callable
from typing import Any, Final

from guardhouse.analysis.risk.act import INET_KINDS, kind_of_fd
from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.process import (
    DROPPED_ROOT,
    INET,
    LISTENS,
    MAX_FDS,
    MEMFD,
    STDIO_SOCKET,
    UNSHARED,
    Process,
)

Observer = Callable[[Process, RiskEvent], None]
STDIO: Final = (0, 1, 2)
_INET_FAMILIES: Final = frozenset({"inet", "inet6", "af_inet", "af_inet6"})
_NAMESPACES: Final = frozenset({"CLONE_NEWNS", "CLONE_NEWUSER"})


def remember_fd(process: Process, fd: int, kind: str) -> None:
    """Note what a descriptor is; past 64 the oldest that is not standard input or output is forgotten."""
    fds = process.fds
    if fds is None:
        fds = process.fds = {}
    fds.pop(fd, None)
    fds[fd] = kind
    if len(fds) > MAX_FDS:
        del fds[next((old for old in fds if old not in STDIO), fd)]


def _is_inet(args: dict[str, Any]) -> bool | None:
    """Whether the address or descriptor of a call is an inet one; None when it does not say."""
    addr = args.get("addr")
    family = addr.get("family") if isinstance(addr, dict) else args.get("name")
    if isinstance(family, str) and family:
        return family.lower() in _INET_FAMILIES
    kind = args.get("fd_kind")
    if isinstance(kind, str) and kind:
        return kind.lower() in INET_KINDS
    return None


def _endpoint(args: dict[str, Any]) -> str:
    addr = args.get("addr")
    if isinstance(addr, dict) and addr.get("ip") is not None:
        return f"inet {addr.get('ip')}:{addr.get('port')}"
    return "inet"


def _socket(process: Process, event: RiskEvent) -> None:
    args = event.args or {}
    if event.failed:
        return
    if _is_inet(args):
        process.flags |= INET
        if event.ret is not None:
            remember_fd(process, event.ret, "inet")
    elif event.ret is not None:
        _forget(process, event.ret)


def _connect(process: Process, event: RiskEvent) -> None:
    args = event.args or {}
    if _is_inet(args) or kind_of_fd(args, process, args.get("fd")) == "inet":
        process.mark(INET, event.event_id)
        fd = args.get("fd")
        if isinstance(fd, int):
            remember_fd(process, fd, _endpoint(args))


def _accept(process: Process, event: RiskEvent) -> None:
    args = event.args or {}
    if event.failed or _is_inet(args) is False:
        return
    process.flags |= INET
    process.mark(LISTENS, event.event_id)
    if event.ret is not None:
        remember_fd(process, event.ret, _endpoint(args))


def _listen(process: Process, event: RiskEvent) -> None:
    args = event.args or {}
    kind = kind_of_fd(args, process, args.get("fd"))
    if not event.failed and kind in (None, "inet"):
        process.mark(LISTENS, event.event_id)


def _dup(process: Process, event: RiskEvent) -> None:
    args = event.args or {}
    if event.failed:
        return
    fd = args.get("fd")
    new = args.get("newfd")
    if not isinstance(new, int):
        new = event.ret
    if not isinstance(new, int):
        return
    kind = kind_of_fd(args, process, fd)
    fds = process.fds
    if kind in ("inet", "memfd"):
        text = fds.get(fd, kind) if fds is not None and isinstance(fd, int) else kind
        if kind == "inet" and new in STDIO:
            process.mark(STDIO_SOCKET, event.event_id)
            process.flags |= INET
        remember_fd(process, new, text if text.startswith(kind) else kind)
    elif fds is not None and new in fds:
        _forget(process, new)


def _forget(process: Process, fd: int) -> None:
    fds = process.fds
    if fds is None or fds.pop(fd, None) is None:
        return
    if fd in STDIO and not any(fds.get(std, "").startswith("inet") for std in STDIO):
        process.flags &= ~STDIO_SOCKET
        if process.marks is not None:
            process.marks.pop(STDIO_SOCKET, None)


def _close(process: Process, event: RiskEvent) -> None:
    if process.fds is not None and event.args is not None:
        fd = event.args.get("fd")
        if isinstance(fd, int):
            _forget(process, fd)


def _open(process: Process, event: RiskEvent) -> None:
    if process.fds is not None and event.ret is not None and event.ret >= 0:
        _forget(process, event.ret)


def _memfd(process: Process, event: RiskEvent) -> None:
    if event.failed:
        return
    process.mark(MEMFD, event.event_id)
    if event.ret is not None:
        remember_fd(process, event.ret, "memfd")


def _namespace(process: Process, event: RiskEvent) -> None:
    flags = (event.args or {}).get("flags")
    if not event.failed and (
        event.call == "setns" or (isinstance(flags, list | tuple) and any(f in _NAMESPACES for f in flags))
    ):
        process.mark(UNSHARED, event.event_id)


def _user(process: Process, event: RiskEvent) -> None:
    uid = (event.args or {}).get("uid")
    if event.failed or not isinstance(uid, int) or uid < 0:
        return
    if uid != 0 and process.uid in (0, None):
        process.flags |= DROPPED_ROOT
    process.uid = uid


OBSERVERS: Final[dict[str, Observer]] = {
    "socket": _socket,
    "connect": _connect,
    "accept": _accept,
    "accept4": _accept,
    "listen": _listen,
    "dup": _dup,
    "dup2": _dup,
    "dup3": _dup,
    "close": _close,
    "open": _open,
    "openat": _open,
    "openat2": _open,
    "creat": _open,
    "memfd_create": _memfd,
    "unshare": _namespace,
    "setns": _namespace,
    "setuid": _user,
    "setreuid": _user,
    "setresuid": _user,
    "setuid32": _user,
    "setreuid32": _user,
    "setresuid32": _user,
}
