"""One act of one process as rules see it: the event's own words plus what the engine knows about the process.

Invariant: a field is a pure function of the event and of state that existed before it; a field that the event
does not have is None, and None matches nothing.
"""

from collections.abc import Callable
from posixpath import basename, dirname, normpath
from typing import Any, Final

from guardhouse.analysis.risk.event import RiskEvent
from guardhouse.analysis.risk.process import Process

Value = str | int | bool | tuple[str, ...] | None

WRITE_FLAGS: Final = frozenset({"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND"})
INET_KINDS: Final = frozenset(
    {"inet", "inet6", "tcp", "tcp6", "udp", "udp6", "tcpv6", "udpv6", "sock_inet", "sock_inet6"}
)
TWO_PATHS: Final = frozenset(
    {"rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "mount"}
)
DELETED: Final = " (deleted)"
MAX_DIGITS: Final = 7  # of a descriptor number in a path


def clean_path(path: str) -> str:
    """The path without `//`, `/./` and `/../`; a relative path stays relative."""
    if "/." in path or "//" in path or path.startswith("./"):
        return normpath(path).replace("//", "/", 1) if path.startswith("//") else normpath(path)
    return path


def path_of(call: str, args: dict[str, Any]) -> str | None:
    """The path a call acts on as the agent knows it best.

    For calls with one path, `path2` is the resolved one.
    """
    second = args.get("path2")
    if isinstance(second, str) and second.startswith("/") and call not in TWO_PATHS:
        return second
    path = args.get("path")
    return path if isinstance(path, str) else None


def opens_for_writing(call: str, flags: object) -> bool:
    """Whether an open of this kind may change or create the file."""
    if call == "creat":
        return True
    return isinstance(flags, list | tuple) and any(
        isinstance(flag, str) and flag in WRITE_FLAGS for flag in flags
    )


def kind_of_fd(args: dict[str, Any], process: Process, fd: object) -> str | None:
    """`inet`, `memfd` or the agent's own word for what a descriptor is, None when nobody said."""
    kind = args.get("fd_kind")
    if isinstance(kind, str) and kind:
        lowered = kind.lower()
        return "inet" if lowered in INET_KINDS else lowered
    if process.fds is not None and isinstance(fd, int):
        held = process.fds.get(fd)
        if held is not None:
            return held.partition(" ")[0]
    return None


def image_of(path: str | None, exe: str | None, args: dict[str, Any], process: Process) -> str:
    """Where an executed image lies: `memfd`, `deleted` or `file`."""
    for name in (exe, path):
        if name is None:
            continue
        if name.startswith(("/memfd:", "memfd:")):
            return "memfd"
        if name.endswith(DELETED):
            return "deleted"
    fds = process.fds
    if fds is not None:
        fd: object = args.get("fd")
        if path is not None and "/fd/" in path:
            last = path.rpartition("/")[2]
            fd = int(last) if last.isascii() and last.isdigit() and len(last) <= MAX_DIGITS else None
        if isinstance(fd, int) and fds.get(fd, "").startswith("memfd"):
            return "memfd"
    return "file"


class Act:
    """What one event does, with its process, the program before it, and the parent's program."""

    __slots__ = ("args", "call", "event", "exe", "parent_exe", "path", "process")

    def __init__(self, event: RiskEvent, call: str, process: Process, parent_exe: str | None) -> None:
        self.exe: str | None
        self.event = event
        self.call = call
        self.process = process
        self.parent_exe = parent_exe
        self.args: dict[str, Any] = event.args or {}
        path = path_of(call, self.args)
        self.path = None if path is None else clean_path(path)
        if call in EXEC_CALLS:
            self.exe = event.exe or self.path
            if self.path is None:
                self.path = self.exe
        else:
            self.exe = process.exe

    def text(self, name: str) -> str:
        """A field as words for a `why`; unknown is `?`."""
        value = FIELDS[name](self)
        if value is None:
            return "?"
        if isinstance(value, tuple):
            return " ".join(value)
        return str(value)


EXEC_CALLS: Final = frozenset({"execve", "execveat"})


def _string(name: str) -> Callable[[Act], Value]:
    def read(act: Act) -> Value:
        value = act.args.get(name)
        return value if isinstance(value, str) else None

    return read


def _integer(name: str) -> Callable[[Act], Value]:
    def read(act: Act) -> Value:
        value = act.args.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    return read


def _words(name: str) -> Callable[[Act], Value]:
    def read(act: Act) -> Value:
        value = act.args.get(name)
        if isinstance(value, list | tuple):
            return tuple(word for word in value if isinstance(word, str))
        return None

    return read


def _last_word(act: Act) -> Value:
    argv = act.args.get("argv")
    return argv[-1] if isinstance(argv, list | tuple) and argv and isinstance(argv[-1], str) else None


def _address(name: str) -> Callable[[Act], Value]:
    def read(act: Act) -> Value:
        addr = act.args.get("addr")
        value = addr.get(name) if isinstance(addr, dict) else None
        return value if isinstance(value, str | int) else None

    return read


def _second_path(act: Act) -> str | None:
    value = act.args.get("path2")
    return clean_path(value) if isinstance(value, str) else None


def _tool(act: Act) -> Value:
    return basename(act.exe) if act.exe else None


def _adds_suffix(act: Act) -> Value:
    """The new name is the old one (in any directory) with something added."""
    new = _second_path(act)
    if act.path is None or new is None:
        return None
    old_base, new_base = basename(act.path), basename(new)
    return len(new_base) > len(old_base) + 1 and new_base.startswith(old_base)


def _foreign(act: Act) -> Value:
    target = act.args.get("target_pid")
    return target != act.event.pid if isinstance(target, int) else None


def _endpoint(act: Act) -> Value:
    addr = act.args.get("addr")
    if not isinstance(addr, dict) or addr.get("ip") is None:
        return None
    return f"{addr.get('ip')}:{addr.get('port')}"


def _uid_before(act: Act) -> Value:
    return act.process.uid


def _root_uid(act: Act) -> Value:
    """Whether the call asks for user 0 (setuid, setreuid, setresuid: any of the ids)."""
    value = act.args.get("uid")
    if isinstance(value, int):
        return value == 0
    if isinstance(value, list | tuple):
        return 0 in value
    return None


def _stdio_fds(act: Act) -> Value:
    held = act.process.fds or {}
    return ",".join(str(fd) for fd in (0, 1, 2) if held.get(fd, "").startswith("inet")) or None


def _stdio_peer(act: Act) -> Value:
    held = act.process.fds or {}
    peers = [held[fd].partition(" ")[2] for fd in (0, 1, 2) if held.get(fd, "").startswith("inet ")]
    return peers[0] if peers else None


def _writable_code(act: Act) -> Value:
    flags = act.args.get("flags")
    return isinstance(flags, list | tuple) and "PROT_WRITE" in flags and "PROT_EXEC" in flags


def _mode_octal(act: Act) -> Value:
    mode = act.args.get("mode")
    return f"{mode:04o}" if isinstance(mode, int) else None


FIELDS: Final[dict[str, Callable[[Act], Value]]] = {
    "call": lambda act: act.call,
    "path": lambda act: act.path,
    "base": lambda act: basename(act.path) if act.path else None,
    "dir": lambda act: dirname(act.path) if act.path else None,
    "path2": _second_path,
    "adds_suffix": _adds_suffix,
    "access": lambda act: "w" if opens_for_writing(act.call, act.args.get("flags")) else "r",
    "flags": _words("flags"),
    "writable_code": _writable_code,
    "mode": _integer("mode"),
    "mode_octal": _mode_octal,
    "stdio_fds": _stdio_fds,
    "stdio_peer": _stdio_peer,
    "fd": _integer("fd"),
    "newfd": _integer("newfd"),
    "fd_kind": lambda act: kind_of_fd(act.args, act.process, act.args.get("fd")),
    "image": lambda act: image_of(act.path, act.exe, act.args, act.process),
    "family": _address("family"),
    "ip": _address("ip"),
    "port": _address("port"),
    "addr_path": _address("path"),
    "endpoint": _endpoint,
    "target_pid": _integer("target_pid"),
    "foreign": _foreign,
    "request": _string("request"),
    "asks_root": _root_uid,
    "uid_before": _uid_before,
    "argv": _words("argv"),
    "argv_last": _last_word,
    "name": _string("name"),
    "len": _integer("len"),
    "ret": lambda act: act.event.ret,
    "errno": lambda act: act.event.errno,
    "exe": lambda act: act.exe,
    "tool": _tool,
    "exe_before": lambda act: act.process.exe,
    "tool_before": lambda act: basename(act.process.exe) if act.process.exe else None,
    "parent": lambda act: act.parent_exe,
    "parent_tool": lambda act: basename(act.parent_exe) if act.parent_exe else None,
}
PATH_FIELDS: Final = frozenset({"path", "base", "dir"})
"""Fields that depend on `args.path` alone for every call but exec; rules are indexed by them."""
