"""Write the events of a rule's own tests as the kernel's audit would: what a record cannot say is left out."""

import errno
import ipaddress
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from guard_agent.watch.audit_calls import call_table, constant_group
from guard_agent.watch.strace_shapes import SHAPES
from guardhouse.analysis.risk.event import RiskEvent

AT_FDCWD: Final = 0xFFFFFF9C
ACCESS: Final = {"O_RDONLY": 0, "O_WRONLY": 1, "O_RDWR": 2}
GROUPS: Final = (
    "open",
    "at",
    "clone",
    "mount",
    "memfd",
    "module",
    "prot",
    "personality",
    "rename",
    "socket_flag",
)
TWO_PATHS: Final = ("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "move_mount")
GONE: Final = ("unlink", "unlinkat")
DIRECTORIES: Final = ("/var/log/journal/abc",)  # what a test means without saying it
PEERS: Final = {
    "inet": {"family": "inet", "ip": "203.0.113.9", "port": 4444},
    "unix": {"family": "unix", "path": "/x"},
}
_ABIS: Final = {"x86_64": "c000003e", "i386": "40000003"}


def write_log(events: Iterable[RiskEvent]) -> Iterator[str]:
    """Yield the lines of an audit log."""
    programs: dict[int, str] = {}
    parents: dict[int, int] = {}
    for event in events:
        pid = event.pid or 0
        if event.child_pid is not None:
            parents[event.child_pid] = pid
            programs[event.child_pid] = event.exe or programs.get(pid, "/usr/bin/unknown")
        for name in event.names or (
            event.call or {"exec": "execve", "fork": "fork", "exit": "exit_group"}[event.kind],
        ):
            args = event.args or {}
            started = (
                name in ("execve", "execveat") and (event.ret is None or event.ret >= 0) and not event.errno
            )
            if started or event.exe is not None:
                programs[pid] = event.exe or args.get("path2") or args.get("path") or programs.get(pid, "")
            parent = event.ppid or parents.get(pid, 1)
            program = programs.get(pid, "/usr/bin/unknown")
            if name in ("listen", "dup", "dup2", "dup3") and args.get("fd_kind") in PEERS:
                before = {"fd": args["fd"], "addr": PEERS[args["fd_kind"]]}
                made = "bind" if name == "listen" else "connect"
                yield from _write_call(event._replace(ret=0, errno=None), made, before, program, parent)
            yield from _write_call(event, name, args, program, parent)


def _write_call(event: RiskEvent, name: str, args: dict[str, Any], exe: str, ppid: int) -> Iterator[str]:
    abi, number = next((abi, _numbers(abi)[name]) for abi in _ABIS if name in _numbers(abi))
    us = event.occurred_us
    head = f"msg=audit({us // 1_000_000}.{us % 1_000_000:06d}:{event.position}): "
    registers = " ".join(f"a{at}={value:x}" for at, value in enumerate(_registers(name, args, event)))
    result = "" if name == "exit_group" else _result(event)
    yield (
        f"type=SYSCALL {head}arch={_ABIS[abi]} syscall={number}{result} {registers} items=2 ppid={ppid} pid={event.pid}"
        f" auid=0 uid=0 comm={_text(exe[-15:])} exe={_text(exe)} key=(null)"
    )
    if args.get("argv"):
        words = " ".join(f"a{at}={_text(word)}" for at, word in enumerate(args["argv"]))
        yield f"type=EXECVE {head}argc={len(args['argv'])} {words}"
    yield f'type=CWD {head}cwd="/"'
    for at, (path, kind) in enumerate(_paths(name, args)):
        yield f"type=PATH {head}item={at} name={_text(path)} nametype={kind}"
    if name == "fchmod" and args.get("path") in DIRECTORIES:
        yield f"type=PATH {head}item=0 name=(null) inode=5 mode=040755 nametype=NORMAL"
    if isinstance(args.get("addr"), dict):
        yield f"type=SOCKADDR {head}saddr={_address(args['addr'])}"
    if name.endswith("_module") and args.get("name"):
        yield f"type=KERN_MODULE {head}name={_text(args['name'])}"
    yield f"type=EOE {head}"


def _numbers(abi: str) -> dict[str, int]:
    return {name: number for number, name in sorted(call_table(abi).items(), reverse=True)}


def _text(text: str) -> str:
    plain = all("!" <= letter <= "~" and letter != '"' for letter in text)
    return f'"{text}"' if plain else text.encode().hex().upper()


def _result(event: RiskEvent) -> str:
    if event.errno is not None or (event.ret is not None and event.ret < 0):
        return f" success=no exit={-getattr(errno, event.errno or 'EPERM')}"
    return f" success=yes exit={event.child_pid or event.ret or 0}"


def _registers(name: str, args: dict[str, Any], event: RiskEvent) -> list[int]:
    shape = SHAPES.get(name) or SHAPES.get(name.removesuffix("32"), ())
    values = [_register(word, name, args) for word in shape[:4]]
    if name == "exit_group":
        values = [event.code or 0]
    return [*values, 0, 0, 0, 0][:4]


def _register(word: str, name: str, args: dict[str, Any]) -> int:
    if word in ("fd", "newfd", "mode", "len", "uid", "gid", "target_pid"):
        return int(args.get(word, -1)) & 0xFFFFFFFF
    if word in ("flags", "clone_flags"):
        return sum(_bit(flag, name) for flag in args.get("flags", ()))
    if word == "name" and str(args.get("name", "")).startswith("SIG"):
        return int(signal.Signals[args["name"]])
    return _CODES[word](args) if word in _CODES else 1


def _request(args: dict[str, Any]) -> int:
    groups = [constant_group(group, "x86_64") for group in ("ptrace", "prctl", "bpf")]
    return next((n for rows in groups for n, known in rows.items() if known == args.get("request")), 0)


def _family(args: dict[str, Any]) -> int:
    kind = str(args.get("fd_kind") or args.get("name") or "unix").upper().removeprefix("AF_")
    return next(n for n, known in constant_group("family", "").items() if known == f"AF_{kind}")


_CODES: Final[dict[str, Callable[[dict[str, Any]], int]]] = {
    "dirfd": lambda args: int(args.get("fd", AT_FDCWD)),
    "dirfd2": lambda _args: AT_FDCWD,
    "family": _family,
    "request": _request,
}


def _bit(flag: str, name: str) -> int:
    if flag in ACCESS:
        return ACCESS[flag]
    rows = [constant_group(group, "x86_64") for group in GROUPS]
    if name == "socket":
        rows.append(constant_group("socket_type", ""))
    return next((n for group in rows for n, known in group.items() if known == flag), 0)


def _paths(name: str, args: dict[str, Any]) -> list[tuple[str, str]]:
    path, second = args.get("path"), args.get("path2")
    if name in TWO_PATHS:
        first = (
            [(path, "NORMAL" if name.startswith(("link", "symlink", "move")) else "DELETE")] if path else []
        )
        return first + ([(second, "NORMAL" if name == "move_mount" else "CREATE")] if second else [])
    if name in ("mount", "pivot_root"):
        both = (
            [(second or path, "NORMAL"), (path, "NORMAL")]
            if name == "mount"
            else [(path, "NORMAL"), (second, "NORMAL")]
        )
        return [(text, kind) for text, kind in both if text]
    if path is None or "path" not in SHAPES.get(name, ()):
        return []
    return [(second or path, "DELETE" if name in GONE else "NORMAL")]


def _address(addr: dict[str, Any]) -> str:
    family = str(addr.get("family", "")).lower().removeprefix("af_")
    number = next(
        (n for n, known in constant_group("family", "").items() if known == f"AF_{family.upper()}"), 0
    )
    raw = number.to_bytes(2, "little")
    if family in ("inet", "inet6"):
        ip = ipaddress.ip_address(addr["ip"]).packed
        raw += (
            int(addr.get("port") or 0).to_bytes(2, "big")
            + (b"\0" * 4 if family == "inet6" else b"")
            + ip
            + b"\0" * 8
        )
    elif family == "unix":
        path = str(addr.get("path", ""))
        raw += (b"\0" + path[1:].encode() if path.startswith("@") else path.encode()) + b"\0"
    return raw.hex().upper()
