"""Turn an audited call into the known keys of the wire, the same that `strace_args` makes of strace's text.

A record has the first four arguments as numbers; paths come from PATH records, addresses from SOCKADDR. What a
pointer points to is not in the records: the name of a memfd, the type of a mounted file system, an attribute.
"""

import functools
import signal
import socket
from collections.abc import Callable
from typing import Any, Final

from guard_agent.watch.audit_call import AuditCall, NamedPath
from guard_agent.watch.audit_calls import constant_group, name_bits
from guard_agent.watch.processes import Process
from guard_agent.watch.strace_args import cut_argv, join_path
from guard_agent.watch.strace_shapes import ONLY_WITH, SHAPES

AT_FDCWD: Final = -100
ACCESS_MODES: Final = {0: "O_RDONLY", 1: "O_WRONLY", 2: "O_RDWR"}
_MODE_BITS: Final = 0o7777
_STICKY_BITS: Final = 0o1777
_CREATING: Final = 0o100
_TMPFILE: Final = 0o20000000
_WRITE_AND_EXEC: Final = 2 | 4
_SHORT_MINUS_ONE: Final = 0xFFFF
_MINUS_ONE: Final = 0xFFFFFFFF
_CSIGNAL: Final = 0xFF
_TYPE_MASK: Final = 0xF
_SIGNALS: Final = {int(item): item.name for item in signal.Signals}
# Which group of constants the flags of a call belong to; `open` and `clone` flags are read by their own rules.
_FLAG_GROUPS: Final = {
    "accept4": "socket_flag",
    "delete_module": "open",
    "dup3": "open",
    "fchmodat2": "at",
    "finit_module": "module",
    "memfd_create": "memfd",
    "mount": "mount",
    "mprotect": "prot",
    "mmap": "prot",
    "personality": "personality",
    "pkey_mprotect": "prot",
    "renameat2": "rename",
    "setns": "clone",
    "unlinkat": "at",
    "unshare": "clone",
}
# Their address says what the descriptor is. A listen has none: where no bind was seen it is a socket of unknown
# family, else every program with a local socket would pass for a server.
_ON_SOCKETS: Final = frozenset(("connect", "bind", "listen", "accept", "accept4", "sendto"))
_OPENING: Final = frozenset(("open", "openat"))
_REQUEST_GROUPS: Final = {"ptrace": "ptrace", "prctl": "prctl", "bpf": "bpf"}
_SHORT_IDS: Final = frozenset(("chown", "lchown", "fchown"))

Args = dict[str, Any]


@functools.lru_cache(4096)
def shape_of(name: str) -> tuple[str, ...]:
    """Return which argument goes where; i386 has some calls twice, `setuid32` is shaped as `setuid`."""
    return (
        SHAPES.get(name) or SHAPES.get(name.removesuffix("32"), ()) or SHAPES.get(name.removesuffix("64"), ())
    )


def is_worth_keeping(call: AuditCall) -> bool:
    """Tell whether a call has an argument that the wire has a key for; as `strace_shapes` for texts."""
    if not shape_of(call.name):
        return False
    if call.name not in ONLY_WITH:
        return True
    if call.name == "sendto":
        return address_family(call) in ("inet", "inet6", "unix")
    return ((call.arg(2) or 0) & _WRITE_AND_EXEC) == _WRITE_AND_EXEC


def address_family(call: AuditCall) -> str | None:
    """Return the family of the call's SOCKADDR record."""
    if len(call.address) < 2:  # noqa: PLR2004 -- bytes of sa_family_t
        return None
    return family_name(int.from_bytes(call.address[:2], "little"))


def family_name(number: int) -> str | None:
    """Return `inet`, `unix`, `netlink`, … for an address family."""
    name = constant_group("family", "").get(number)
    return None if name is None else name[3:].lower()


def read_address(raw: bytes) -> Args | None:
    """Turn a sockaddr into `{"family", "ip", "port"}` or `{"family": "unix", "path"}`."""
    if len(raw) < 2:  # noqa: PLR2004 -- bytes of sa_family_t
        return None
    family = family_name(int.from_bytes(raw[:2], "little"))
    if family is None:
        return None
    address: Args = {"family": family}
    if family == "inet" and len(raw) >= 8:  # noqa: PLR2004 -- port and address
        address |= {"ip": socket.inet_ntop(socket.AF_INET, raw[4:8]), "port": int.from_bytes(raw[2:4], "big")}
    elif family == "inet6" and len(raw) >= 24:  # noqa: PLR2004 -- port, flow, address
        address |= {
            "ip": socket.inet_ntop(socket.AF_INET6, raw[8:24]),
            "port": int.from_bytes(raw[2:4], "big"),
        }
    elif family == "unix" and len(raw) > 2:  # noqa: PLR2004 -- a path behind the family
        path = raw[2:110]
        text = b"@" + path[1:].rstrip(b"\0") if path[0] == 0 else path.split(b"\0", 1)[0]
        if text and text != b"@":
            address["path"] = text.decode("utf-8", "replace")
    return address


def read_arguments(call: AuditCall, process: Process) -> Args:
    """Return the `args` of one call of `process`."""
    kept: Args = {}
    shape = shape_of(call.name)
    for at, word in enumerate(shape):
        reader = _READERS.get(word)
        if reader is not None:
            reader(call, at, kept, process)
    if "path" in shape or "path2" in shape:
        _place_paths(call, shape, kept, process)
    if call.name in ("socket", "memfd_create") and not call.failed and call.ret is not None:
        kept["fd"] = call.ret
        kept.setdefault("fd_kind", "memfd" if call.name == "memfd_create" else "socket")
    if call.argv:
        kept["argv"] = cut_argv(call.argv)
    if call.module is not None and call.name.endswith("_module"):
        kept["name"] = call.module
    if call.how is not None and call.name == "openat2":
        _how(call, kept)
    return kept


# -- paths ------------------------------------------------------------------------------------------------


def _place_paths(call: AuditCall, shape: tuple[str, ...], kept: Args, process: Process) -> None:
    bases = {"path": call.directory, "path2": call.directory}
    for at, word in enumerate(shape):
        if word in ("dirfd", "dirfd2"):
            number = call.int_arg(at)
            if number != AT_FDCWD:
                held = None if number is None else process.descriptors.get(number)
                bases["path" if word == "dirfd" else "path2"] = None if held is None else held.path
    if "source" in shape:
        bases["path"] = None
    named = [path for path in call.paths if path.kind != "PARENT"]
    if "path2" in shape:
        first, second = _two_paths(call.name, named)
        if first is not None:
            kept["path"] = join_path(bases["path"], first)
        if second is not None:
            kept["path2"] = join_path(bases["path2"], second)
    elif named:
        raw = named[0 if call.name in ("execve", "execveat") else -1].name
        led_to = join_path(bases["path"], raw)
        kept["path"] = raw
        if led_to != raw:
            kept["path2"] = led_to


def _two_paths(name: str, named: list[NamedPath]) -> tuple[str | None, str | None]:
    """Return (from, to): what vanished and what came where the records say so, else the first and the last."""
    if name == "mount":
        return (named[1].name if len(named) > 1 else None), (named[0].name if named else None)
    gone = [path.name for path in named if path.kind == "DELETE"]
    made = [path.name for path in named if path.kind == "CREATE"]
    first = gone[0] if gone else named[0].name if named else None
    if made:
        return (first if gone or len(named) > 1 else None), made[-1]
    return first, named[-1].name if len(named) > 1 else None


# -- numbers ----------------------------------------------------------------------------------------------


def _fd(call: AuditCall, at: int, kept: Args, process: Process) -> None:
    number = call.int_arg(at)
    if number is None or number < 0:
        return
    kept["fd"] = number
    held = process.descriptors.get(number)
    kind = held.kind if held is not None else None
    if kind in (None, "socket") and call.name in _ON_SOCKETS:
        kind = address_family(call) or ("socket" if call.name == "listen" else kind)
    if kind is not None:
        kept["fd_kind"] = kind
    if held is not None and held.path is not None:
        kept.setdefault("path", held.path)


def _newfd(call: AuditCall, at: int, kept: Args, _process: Process) -> None:
    number = call.int_arg(at)
    if number is not None and number >= 0:
        kept["newfd"] = number


def _directory(call: AuditCall, at: int, kept: Args, _process: Process) -> None:
    number = call.int_arg(at)
    if number is not None and number >= 0:
        kept["fd"] = number


def _flags(call: AuditCall, at: int, kept: Args, _process: Process) -> None:
    value = call.arg(at)
    if value is None:
        return
    if call.name in _OPENING:
        names = open_flags(value, call.abi)
    elif call.name == "socket":
        kind = constant_group("socket_type", "").get(value & _TYPE_MASK)
        names = ([kind] if kind else []) + name_bits(value, constant_group("socket_flag", ""))
    elif call.name == "personality" and value & _MINUS_ONE == _MINUS_ONE:
        names = []
    else:
        group = _FLAG_GROUPS.get(call.name)
        names = [] if group is None else name_bits(value, constant_group(group, call.abi))
    if names:
        kept["flags"] = names


def open_flags(value: int, abi: str) -> list[str]:
    """Return the flags of an open: how it is accessed first, then the bits."""
    access = ACCESS_MODES.get(value & 3)
    return ([access] if access else []) + name_bits(value, constant_group("open", abi))


def _clone_flags(call: AuditCall, at: int, kept: Args, _process: Process) -> None:
    value = call.arg(at)
    if value is None or call.name != "clone":  # clone3 has them in memory
        return
    names = name_bits(value & ~_CSIGNAL, constant_group("clone", ""))
    told = _SIGNALS.get(value & _CSIGNAL)
    if told is not None:
        names.append(told)
    if names:
        kept["flags"] = names


def _how(call: AuditCall, kept: Args) -> None:
    how = call.how or {}
    value, mode = _octal(how.get("oflag")), _octal(how.get("mode"))
    if value is not None:
        kept["flags"] = open_flags(value, call.abi)
    if mode:
        kept["mode"] = mode & _MODE_BITS


def _octal(text: str | None) -> int | None:
    return int(text, 8) if text and text.isascii() and text.isdigit() and not set(text) & {"8", "9"} else None


def _mode(call: AuditCall, at: int, kept: Args, _process: Process) -> None:
    value = call.arg(at)
    if value is None:
        return
    if call.name in _OPENING and not (call.arg(at - 1) or 0) & (_CREATING | _TMPFILE):
        return
    # A directory hands its group on; of a nameless one no rule could tell by its path that this is all it means.
    kept["mode"] = value & (_STICKY_BITS if call.on_directory else _MODE_BITS)


def _id(key: str) -> Callable[[AuditCall, int, Args, Process], None]:
    def read(call: AuditCall, at: int, kept: Args, _process: Process) -> None:
        value = call.arg(at)
        if value is None:
            return
        value &= _MINUS_ONE
        if call.abi == "i386" and not call.name.endswith("32") and _is_short(call.name):
            value &= _SHORT_MINUS_ONE
            if value == _SHORT_MINUS_ONE:
                return
        if value != _MINUS_ONE:
            kept[key] = value

    return read


def _is_short(name: str) -> bool:
    """Tell whether an i386 call has ids of 16 bits: the old ones, that have a namesake with 32."""
    return name.startswith("set") or name in _SHORT_IDS


def _len(call: AuditCall, at: int, kept: Args, _process: Process) -> None:
    value = call.arg(at)
    if value is not None and value < 1 << 63:
        kept["len"] = value


def _target_pid(call: AuditCall, at: int, kept: Args, _process: Process) -> None:
    """Take the pid as the kernel knows it (OBJ_PID): the argument is numbered as inside the caller's container."""
    value = call.int_arg(at)
    if value is not None and value > 0 and call.target is not None:
        value = call.target
    if value is not None and value != -1:
        kept["target_pid"] = value


def _request(call: AuditCall, at: int, kept: Args, _process: Process) -> None:
    value = call.arg(at)
    group = _REQUEST_GROUPS.get(call.name)
    if value is not None and group is not None:
        name = constant_group(group, call.abi).get(value & _MINUS_ONE)
        if name is not None:
            kept["request"] = name


def _name(call: AuditCall, at: int, kept: Args, _process: Process) -> None:
    """Take a signal's name; other names are texts in memory."""
    if call.name in ("kill", "tkill", "tgkill"):
        value = call.int_arg(at)
        name = _SIGNALS.get(value) if value is not None else None
        if name is not None:
            kept["name"] = name


def _address(call: AuditCall, _at: int, kept: Args, _process: Process) -> None:
    address = read_address(call.address)
    if address is not None:
        kept["addr"] = address


def _family(call: AuditCall, at: int, kept: Args, _process: Process) -> None:
    value = call.int_arg(at)
    name = None if value is None else family_name(value)
    if name is not None:
        kept["fd_kind"] = name


_READERS: Final[dict[str, Callable[[AuditCall, int, Args, Process], None]]] = {
    "addr": _address,
    "clone_flags": _clone_flags,
    "dirfd": _directory,
    "family": _family,
    "fd": _fd,
    "flags": _flags,
    "gid": _id("gid"),
    "len": _len,
    "mode": _mode,
    "name": _name,
    "newfd": _newfd,
    "request": _request,
    "target_pid": _target_pid,
    "uid": _id("uid"),
}
