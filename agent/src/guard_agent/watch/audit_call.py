"""One call as the audit records of one serial describe it: numbers named per ABI, texts decoded."""

import errno
import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from guard_agent.watch.audit_calls import ABIS, SOCKETCALL, call_name, constant_group
from guard_agent.watch.audit_text import (
    TYPES,
    decode,
    decode_bytes,
    read_enriched,
    read_fields,
    read_hex,
    read_number,
)
from guard_agent.watch.strace_args import MAX_ARGV, MAX_ARGV_BYTES
from guard_agent.watch.strace_line import MAX_PID

MAX_PATHS: Final = 16
MAX_ADDRESS: Final = 1 << 32
# How every kernel of today writes a SYSCALL record, as far as it is read here; any other way is read field by field.
_USUAL: Final = re.compile(
    r" ?arch=([0-9a-f]{8}) syscall=(\d{1,9})"
    r"(?: success=(yes|no) exit=(-?\d{1,20}))?"
    r" a0=([0-9a-f]{1,16}) a1=([0-9a-f]{1,16}) a2=([0-9a-f]{1,16}) a3=([0-9a-f]{1,16})"
    r" items=\d{1,9} ppid=(\d{1,9}) pid=(\d{1,9}) ",
    re.ASCII,
)
_EXE: Final = re.compile(r"exe=(\"[^\"]*\"|[^\s\x1d]+)")
MAX_BEFORE_EXE: Final = 512
_DIRECTORY: Final = re.compile(r"0?4[0-7]{4}\Z")  # S_IFDIR and its bits, in octal
_REGISTERS: Final = ("a0", "a1", "a2", "a3")
_SOCKETCALL_ARGS: Final = (*_REGISTERS, "a4", "a5")
# Errors that only the kernel knows: they are what strace prints beside `?`. Source: linux/errno.h.
_RESTARTS: Final = {
    512: "ERESTARTSYS",
    513: "ERESTARTNOINTR",
    514: "ERESTARTNOHAND",
    516: "ERESTART_RESTARTBLOCK",
}

Record = tuple[int, str]


class NamedPath(NamedTuple):
    """One PATH record: its place, the name that the program wrote, what happened there (`CREATE`, …)."""

    item: int
    name: str
    kind: str


@dataclass(slots=True)
class AuditCall:
    """One call; `args` are unsigned registers, `ret` is -1 with `errno` as strace prints a failure.

    `on_directory`: its descriptor is of a directory whose name is not told.
    """

    ns: int
    name: str
    abi: str
    pid: int
    ppid: int | None
    exe: str | None
    args: tuple[int, ...]
    ret: int | None = None
    errno: str | None = None
    ended: bool = True
    directory: str | None = None
    paths: list[NamedPath] = field(default_factory=list)
    argv: list[str] = field(default_factory=list)
    address: bytes = b""
    pair: tuple[int, int] | None = None
    target: int | None = None
    module: str | None = None
    how: dict[str, str] | None = None
    on_directory: bool = False

    @property
    def failed(self) -> bool:
        """Tell whether the call did not do what it asks."""
        return self.errno is not None or (self.ret is not None and self.ret < 0)

    def arg(self, at: int) -> int | None:
        """Return an argument as an unsigned number, None where the record has none (the fifth and later)."""
        return self.args[at] if at < len(self.args) else None

    def int_arg(self, at: int) -> int | None:
        """Return an argument that is a C `int`."""
        value = self.arg(at)
        return None if value is None else signed(value)


def signed(value: int) -> int:
    """Read the low 32 bits of a register as a C `int`."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def read_call(ns: int, records: list[Record]) -> AuditCall | None:
    """Rebuild one call from its records; None when the SYSCALL record among them is broken."""
    text = next(text for kind, text in records if kind == TYPES["SYSCALL"])
    call = _read_syscall(ns, text)
    if call is None:
        return None
    arguments: dict[str, str] = {}
    for kind, text in records:
        if kind == TYPES["EXECVE"]:
            arguments |= read_fields(text)
        else:
            reader = _READERS.get(kind)
            if reader is not None:
                reader(call, read_fields(text))
    if arguments:
        call.argv = read_argv(arguments)
    call.paths.sort()
    return call


def _read_syscall(ns: int, text: str) -> AuditCall | None:
    usual = _USUAL.match(text)
    if usual is None:
        return _read_any_syscall(ns, text)
    arch, number, success, result, a0, a1, a2, a3, parent, pid = usual.groups()
    if int(pid) > MAX_PID:
        return None
    exe = _EXE.match(text, text.find(" exe=", usual.end(), usual.end() + MAX_BEFORE_EXE) + 1)
    call = AuditCall(
        ns=ns,
        name=call_name(arch, int(number)) or _unknown_call(text, int(number)),
        abi=ABIS.get(arch, ""),
        pid=int(pid),
        ppid=_parent(int(parent)),
        exe=None if exe is None else decode(exe.group(1)),
        args=(int(a0, 16), int(a1, 16), int(a2, 16), int(a3, 16)),
    )
    _read_result(call, None if result is None else int(result), success)
    return call


def _read_any_syscall(ns: int, text: str) -> AuditCall | None:
    """Read a SYSCALL record field by field: of an old kernel, or damaged."""
    fields = read_fields(text)
    pid, number = read_number(fields.get("pid")), read_number(fields.get("syscall"))
    if pid is None or not 0 <= pid <= MAX_PID or number is None or number < 0:
        return None
    arch = fields.get("arch", "").lower()
    registers = [read_hex(fields.get(register)) for register in _REGISTERS]
    args = tuple(value for value in registers if value is not None) if None not in registers else ()
    call = AuditCall(
        ns=ns,
        name=call_name(arch, number) or _unknown_call(text, number),
        abi=ABIS.get(arch, ""),
        pid=pid,
        ppid=_parent(read_number(fields.get("ppid"))),
        exe=decode(fields.get("exe")),
        args=args,
    )
    _read_result(call, read_number(fields.get("exit")), fields.get("success"))
    return call


def _unknown_call(text: str, number: int) -> str:
    return read_enriched(text, "SYSCALL") or f"syscall_{number}"


def _parent(pid: int | None) -> int | None:
    return pid if pid is not None and 0 < pid <= MAX_PID else None


def _read_result(call: AuditCall, result: int | None, success: str | None) -> None:
    call.ended = success is not None or result is not None
    if result is None:
        call.ret = -1 if success == "no" else None
    elif result < 0 and success != "yes":
        restart = _RESTARTS.get(-result)
        call.errno = restart or errno.errorcode.get(-result)
        call.ret = None if restart else -1
    elif -MAX_ADDRESS < result < MAX_ADDRESS:
        call.ret = result


def _path(call: AuditCall, fields: dict[str, str]) -> None:
    name = decode(fields.get("name"))
    if name is None:
        mode = fields.get("mode", "")
        call.on_directory = bool(_DIRECTORY.match(mode)) and call.name.startswith("fchmod")
        return
    item = read_number(fields.get("item"))
    kind = fields.get("nametype") or fields.get("objtype", "")
    if len(call.paths) < MAX_PATHS:
        call.paths.append(NamedPath(len(call.paths) if item is None else item, name, kind))


def _cwd(call: AuditCall, fields: dict[str, str]) -> None:
    call.directory = decode(fields.get("cwd"))


def _sockaddr(call: AuditCall, fields: dict[str, str]) -> None:
    call.address = decode_bytes(fields.get("saddr"))[:256]


def _fd_pair(call: AuditCall, fields: dict[str, str]) -> None:
    first, second = read_number(fields.get("fd0")), read_number(fields.get("fd1"))
    if first is not None and second is not None:
        call.pair = (first, second)


def _obj_pid(call: AuditCall, fields: dict[str, str]) -> None:
    target = read_number(fields.get("opid"))
    if target is not None and 0 < target <= MAX_PID and call.target is None:
        call.target = target


def _kern_module(call: AuditCall, fields: dict[str, str]) -> None:
    call.module = decode(fields.get("name"))


def _openat2(call: AuditCall, fields: dict[str, str]) -> None:
    call.how = fields


def _socketcall(call: AuditCall, fields: dict[str, str]) -> None:
    """On i386 one call stands for all of sockets: its first argument says which, a record has the others."""
    if call.name != SOCKETCALL or not call.args:
        return
    name = constant_group(SOCKETCALL, call.abi).get(call.args[0])
    values = [value for word in _SOCKETCALL_ARGS if (value := read_hex(fields.get(word))) is not None]
    if name is not None:
        call.name, call.args = name, tuple(values)


_READERS: Final = {
    TYPES["PATH"]: _path,
    TYPES["CWD"]: _cwd,
    TYPES["SOCKADDR"]: _sockaddr,
    TYPES["FD_PAIR"]: _fd_pair,
    TYPES["OBJ_PID"]: _obj_pid,
    TYPES["KERN_MODULE"]: _kern_module,
    TYPES["OPENAT2"]: _openat2,
    TYPES["SOCKETCALL"]: _socketcall,
}


def read_argv(fields: dict[str, str]) -> list[str]:
    """Return the argv of EXECVE records, as much of it as the wire takes.

    A long argument comes in pieces: `a1_len=…`, then `a1[0]=…`, `a1[1]=…`, possibly over several records.
    """
    argv: list[str] = []
    room = MAX_ARGV_BYTES
    for index in range(MAX_ARGV):
        value = fields.get(f"a{index}")
        text = decode(value) if value is not None else _join(fields, f"a{index}")
        if text is None:
            if value is None and f"a{index}_len" not in fields:
                break
            text = value or ""
        argv.append(text)
        room -= len(text)
        if room <= 0:
            break
    return argv


def _join(fields: dict[str, str], name: str) -> str | None:
    """Return the pieces of one argument joined; a text cut in hex or quoted may end inside a character."""
    pieces: list[bytes] = []
    length = 0
    while (piece := fields.get(f"{name}[{len(pieces)}]")) is not None and length <= MAX_ARGV_BYTES:
        raw = decode_bytes(piece) if piece[:1] != '"' else piece.strip('"').encode("utf-8", "replace")
        pieces.append(raw)
        length += len(raw)
    return b"".join(pieces)[: MAX_ARGV_BYTES + 4].decode("utf-8", "replace") if pieces else None
