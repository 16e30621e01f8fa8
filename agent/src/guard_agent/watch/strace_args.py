"""Turn the arguments of a call, as strace prints them, into the known keys of the wire.

`path` is what the program wrote; `path2` is where it led when that is another text (a relative path, a
link, the path of the descriptor that came back). Calls with two paths (rename, link, mount) give both in
full: `path` from, `path2` to.
"""

import posixpath
import re
from typing import Any, Final

from guard_agent.watch.strace_line import MAX_STRING_BYTES, Result, read_descriptor, read_string
from guard_agent.watch.strace_shapes import SHAPES

MAX_FLAGS: Final = 32
MAX_ARGV: Final = 64
MAX_ARGV_BYTES: Final = 4096
MIN_CUT_BYTES: Final = 8
_INTEGER = re.compile(r"-?\d+$")
_OCTAL = re.compile(r"0[0-7]{0,6}$")
_FLAG = re.compile(r"[A-Z][A-Za-z0-9_]{0,63}$")
_IPV4 = re.compile(r'inet_addr\("([0-9.]+)"\)')
_IPV6 = re.compile(r'inet_pton\(AF_INET6, "([0-9a-fA-F:.%]+)"')
_PORT = re.compile(r"sin6?_port=htons\((\d{1,5})\)")
_UNIX_PATH = re.compile(r'sun_path=(@?)("(?:[^"\\]|\\.)*")')
_FAMILY = re.compile(r"sa_family=AF_([A-Z0-9]{1,32})")
_INET: Final = ("TCP", "UDP", "RAW", "PING", "UDPLITE", "SCTP", "L2TP")
_SOCKET_KINDS: Final = (
    dict.fromkeys(_INET, "inet")
    | {name + "v6": "inet6" for name in _INET}
    | {"NETLINK": "netlink", "PACKET": "packet", "socket": "socket", "pipe": "pipe"}
)


def read_arguments(name: str, arguments: list[str], result: Result, directory: str | None) -> dict[str, Any]:
    """Return the `args` of one call; `directory` is the caller's working directory where it is known."""
    kept: dict[str, Any] = {}
    bases: dict[str, str | None] = {"path": directory, "path2": directory}
    for word, argument in zip(SHAPES.get(name, ()), arguments, strict=False):
        _READERS[word](argument, kept, bases)
    _resolve(kept, bases, result, two_paths="path2" in SHAPES.get(name, ()))
    if name in ("socket", "memfd_create") and result.ret is not None and result.ret >= 0:
        kept["fd"] = result.ret
        kept.setdefault("fd_kind", "memfd" if name == "memfd_create" else "socket")
    return kept


def _resolve(kept: dict[str, Any], bases: dict[str, str | None], result: Result, *, two_paths: bool) -> None:
    if two_paths:
        for key in ("path", "path2"):
            if key in kept:
                kept[key] = join_path(bases[key], kept[key])
        return
    raw = kept.get("path")
    if raw is None:
        return
    led_to = join_path(bases["path"], raw)
    if result.note is not None:
        note = read_descriptor("0" + result.note)[1]
        if note is not None and note.startswith("/"):
            led_to = strip_device(note)
    if led_to != raw:
        kept["path2"] = led_to


def join_path(base: str | None, path: str) -> str:
    """Make `path` absolute where its base is known, without looking at the disk (links are not followed).

    What would be longer than the wire takes stays as it was written.
    """
    if not path.startswith("/"):
        if base is None or not base.startswith("/"):
            return path
        joined = base if path == "" else base + "/" + path
        if len(joined) > MAX_STRING_BYTES // 4 and len(joined.encode("utf-8", "replace")) > MAX_STRING_BYTES:
            return path
        path = joined
    if "//" in path or "/." in path or path.endswith("/"):
        return posixpath.normpath(path).replace("//", "/", 1)
    return path


def cut_argv(argv: list[str]) -> list[str]:
    """Keep at most 64 items and 4 KiB of an argv (limits of 2.1); an item that is cut ends with `…`."""
    kept: list[str] = []
    room = MAX_ARGV_BYTES
    for item in argv[:MAX_ARGV]:
        raw = item.encode("utf-8", "replace")
        if len(raw) > room:
            if room > MIN_CUT_BYTES:
                kept.append(raw[: room - 3].decode("utf-8", "ignore") + "…")
            break
        kept.append(item)
        room -= len(raw)
    return kept


def strip_device(note: str) -> str:
    """Cut the `<char 1:3>` that strace puts behind a device's path."""
    return note.split("<", 1)[0] if note.endswith(">") else note


def descriptor_kind(note: str | None) -> str | None:
    """Name what a decoded descriptor is.

    One of inet, inet6, unix, netlink, packet, socket (family unknown), pipe, memfd, char, block, anon,
    file; None without a note.
    """
    if note is None:
        return None
    if note.startswith("/memfd:"):
        return "memfd"
    if note.startswith("/"):
        return "char" if "<char " in note else "block" if "<block " in note else "file"
    head = note.split(":", 1)[0]
    return "unix" if head.startswith("UNIX") else _SOCKET_KINDS.get(head, "anon")


def read_address(argument: str) -> dict[str, Any] | None:
    """Turn a decoded sockaddr into `{"family", "ip", "port"}` or `{"family": "unix", "path"}`.

    None when strace printed an address in memory or NULL.
    """
    family = _FAMILY.search(argument)
    if family is None:
        return None
    kind = family.group(1).lower()
    address: dict[str, Any] = {"family": "unix" if kind in ("unix", "local") else kind}
    ip = _IPV4.search(argument) or _IPV6.search(argument)
    if ip is not None:
        address["ip"] = ip.group(1)
        port = _PORT.search(argument)
        if port is not None:
            address["port"] = int(port.group(1))
    path = _UNIX_PATH.search(argument)
    if path is not None:
        text = read_string(path.group(2))
        if text is not None:
            address["path"] = path.group(1) + text
    return address


def _path(argument: str, kept: dict[str, Any], _bases: dict[str, str | None]) -> None:
    text = read_string(argument)
    if text is not None:
        kept["path"] = text


def _path2(argument: str, kept: dict[str, Any], _bases: dict[str, str | None]) -> None:
    text = read_string(argument)
    if text is not None:
        kept["path2"] = text


def _source(argument: str, kept: dict[str, Any], bases: dict[str, str | None]) -> None:
    _path(argument, kept, bases)
    bases["path"] = None  # a symlink's text is relative to the link, a mount's source may be no path at all


def _directory(argument: str, kept: dict[str, Any], bases: dict[str, str | None]) -> None:
    number, note = read_descriptor(argument)
    if note is not None and note.startswith("/"):
        bases["path"] = note
    elif number is not None:
        bases["path"] = None
    if number is not None:
        kept["fd"] = number


def _directory2(argument: str, _kept: dict[str, Any], bases: dict[str, str | None]) -> None:
    number, note = read_descriptor(argument)
    if note is not None and note.startswith("/"):
        bases["path2"] = note
    elif number is not None:
        bases["path2"] = None


def _fd(argument: str, kept: dict[str, Any], _bases: dict[str, str | None]) -> None:
    number, note = read_descriptor(argument)
    if number is None:
        return
    kept["fd"] = number
    kind = descriptor_kind(note)
    if kind is not None and note is not None:
        kept["fd_kind"] = kind
        if note.startswith("/"):
            kept.setdefault("path", strip_device(note))


def _newfd(argument: str, kept: dict[str, Any], _bases: dict[str, str | None]) -> None:
    number, _ = read_descriptor(argument)
    if number is not None:
        kept["newfd"] = number


def _flags(argument: str, kept: dict[str, Any], _bases: dict[str, str | None]) -> None:
    names = [part for part in argument.split("|") if _FLAG.match(part)]
    if names:
        kept["flags"] = names[:MAX_FLAGS]


def _clone_flags(argument: str, kept: dict[str, Any], bases: dict[str, str | None]) -> None:
    _, found, rest = argument.partition("flags=")
    if found:
        _flags(rest.split(",", 1)[0].rstrip("}"), kept, bases)


def _how(argument: str, kept: dict[str, Any], bases: dict[str, str | None]) -> None:
    for part in argument.strip("{}").split(","):
        key, _, value = part.strip().partition("=")
        if key == "flags":
            _flags(value, kept, bases)
        elif key == "mode":
            _mode(value, kept, bases)


def _mode(argument: str, kept: dict[str, Any], _bases: dict[str, str | None]) -> None:
    digits = argument.rsplit("|", 1)[-1]
    if _OCTAL.match(digits):
        kept["mode"] = int(digits, 8)


def _number(key: str, argument: str, kept: dict[str, Any]) -> None:
    if _INTEGER.match(argument) and len(argument) <= 19:  # noqa: PLR2004 -- digits of a 64-bit number
        value = int(argument)
        if value != -1:
            kept[key] = value


def _uid(argument: str, kept: dict[str, Any], _bases: dict[str, str | None]) -> None:
    _number("uid", argument, kept)


def _gid(argument: str, kept: dict[str, Any], _bases: dict[str, str | None]) -> None:
    _number("gid", argument, kept)


def _len(argument: str, kept: dict[str, Any], _bases: dict[str, str | None]) -> None:
    _number("len", argument, kept)


def _target_pid(argument: str, kept: dict[str, Any], _bases: dict[str, str | None]) -> None:
    _number("target_pid", argument.split("<", 1)[0], kept)


def _request(argument: str, kept: dict[str, Any], _bases: dict[str, str | None]) -> None:
    if _FLAG.match(argument):
        kept["request"] = argument[:64]


def _name(argument: str, kept: dict[str, Any], _bases: dict[str, str | None]) -> None:
    text = read_string(argument)
    if text is not None:
        kept["name"] = text
    elif _FLAG.match(argument) and argument != "NULL":
        kept["name"] = argument[:64]


def _address(argument: str, kept: dict[str, Any], _bases: dict[str, str | None]) -> None:
    address = read_address(argument)
    if address is not None:
        kept["addr"] = address


def _family(argument: str, kept: dict[str, Any], _bases: dict[str, str | None]) -> None:
    if argument.startswith("AF_"):
        kind = argument[3:35].lower()
        kept["fd_kind"] = "unix" if kind == "local" else kind


def _nothing(_argument: str, _kept: dict[str, Any], _bases: dict[str, str | None]) -> None:
    """Skip an argument that no rule reads."""


_READERS: Final = {
    "-": _nothing,
    "addr": _address,
    "argv": _nothing,
    "clone_flags": _clone_flags,
    "dirfd": _directory,
    "dirfd2": _directory2,
    "family": _family,
    "fd": _fd,
    "flags": _flags,
    "gid": _gid,
    "how": _how,
    "len": _len,
    "mode": _mode,
    "name": _name,
    "newfd": _newfd,
    "path": _path,
    "path2": _path2,
    "request": _request,
    "source": _source,
    "target_pid": _target_pid,
    "uid": _uid,
}
