"""An event of Tetragon in our words: program starts and ends, and what its probes saw as calls.

Sources: tetragon's `api/v1/tetragon` messages as its JSON export writes them, today's and those of 2021-22.
The process is named by `exec_id`, base64 of ``node:ns since boot:pid``; a program that another one became without a
fork carries the id of the exec before, so that a process stays one. `parent_exec_id` names the parent.
"""

import base64
import binascii
import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from guardhouse.ingest.formats.hooks import OPENS, access_flags, call_of, flags_of, request_of
from guardhouse.ingest.formats.reading import (
    MAX_WHOLE,
    MAX_WORD,
    Reading,
    Unmapped,
    address,
    argv,
    call_name,
    fitting,
    mapping,
    moment,
    nanoseconds,
    natural,
    objects,
    pid,
    present,
    text,
    whole,
    words,
)

SOURCE: Final = "tetragon"
_PREFIX: Final = "process_"
_KNOWN_AT_START: Final = "procFS"  # in flags: it was running when Tetragon started
_FORKED: Final = "clone"  # in flags: the exec was the first of a new process
_BLOCKED: Final = ("KPROBE_ACTION_OVERRIDE", "LSM_ACTION_OVERRIDE")
# What the numbers of a call are, in their order, as policies commonly take them.
_NUMBERS: Final[dict[str, tuple[str, ...]]] = {
    "connect": ("fd",), "listen": ("fd",), "accept4": ("fd",), "bind": ("fd",),
    "open": ("flags", "mode"), "openat": ("flags", "mode"), "creat": ("mode",),
    "chmod": ("mode",), "fchmod": ("fd", "mode"), "fchmodat": ("mode",),
    "setuid": ("uid",), "setreuid": ("uid",), "setresuid": ("uid",),
    "dup2": ("fd", "newfd"), "dup3": ("fd", "newfd"), "close": ("fd",),
    "ptrace": ("request", "target_pid"), "process_vm_writev": ("target_pid",), "kill": ("target_pid",),
    "unshare": ("flags",), "setns": ("fd", "flags"), "memfd_create": ("flags",), "truncate": ("len",),
}  # fmt: skip
_NAMED: Final = frozenset({"memfd_create", "init_module", "finit_module"})
_AT_CWD: Final = frozenset({-100, 4_294_967_196})
_AT_CALLS: Final = frozenset(
    {"openat", "openat2", "fchmodat", "unlinkat", "renameat", "renameat2", "execveat"}
)
_PATHS: Final = ("file_arg", "path_arg", "linux_binprm_arg", "dentry_arg")
_INTEGERS: Final = ("int_arg", "uint_arg", "long_arg", "size_arg", "int32_arg", "uint64_arg")


@dataclass(frozen=True, slots=True)
class _Seen:
    """One event taken apart: its name, what stands under it, and the process in it."""

    name: str
    body: Mapping[str, Any]
    process: Mapping[str, Any]
    parent: Mapping[str, Any]


def read_tetragon(event: Mapping[str, Any]) -> Reading:
    """Return one event as exec, exit, call, inventory or loss.

    Raises:
        Unmapped: it is no event of a process, or its process has no pid.
    """
    host = text(event.get("node_name"), MAX_WORD)
    dropped = event.get("rate_limit_info")
    if isinstance(dropped, dict):
        count = natural(dropped.get("number_of_dropped_process_events")) or 0
        lost = present(kind="loss", count=count, where="tetragon", timestamp=moment(event.get("time")))
        return Reading(lost, host)
    seen = _take_apart(event)
    members = _process(seen)
    if seen.name == "exec":
        members |= _exec(seen)
    elif seen.name == "exit":
        signal = text(seen.body.get("signal"), MAX_WORD)
        members |= present(kind="exit", code=whole(seen.body.get("status")))
        members["metadata"] = fitting(**members.get("metadata", {}), signal=signal)
    else:
        members |= _call(seen)
    at = moment(event.get("time")) or moment(seen.body.get("time"))
    return Reading(present(timestamp=at) | members, host)


def _take_apart(event: Mapping[str, Any]) -> _Seen:
    for name, body in event.items():
        if name.startswith(_PREFIX) and isinstance(body, dict):
            # The flat form has the members of the process beside those of the event.
            process = body.get("process") if "process" in body else body
            if not isinstance(process, dict) or pid(process.get("pid")) is None:
                raise Unmapped("the process has no pid", f"{name}.process.pid")
            return _Seen(name.removeprefix(_PREFIX), body, process, mapping(body.get("parent")))
    raise Unmapped("this is no event of a process")


def _process(seen: _Seen) -> dict[str, Any]:
    process, parent = seen.process, seen.parent
    exec_id, parent_id = process.get("exec_id"), process.get("parent_exec_id")
    number = pid(process.get("pid"))
    start, before = _start(process.get("exec_id"), process), _start(parent_id, {})
    ppid = pid(parent.get("pid")) or _pid_in(parent_id)
    if ppid == number:  # it became this program without a fork
        if _pid_in(parent_id) == number and not _has_flag(process, _FORKED):
            start = before
        before = ppid = None
    pod, body = mapping(process.get("pod")), seen.body
    container = mapping(pod.get("container"))
    return present(
        pid=number,
        tid=pid(process.get("tid")),
        start=start,
        ppid=ppid,
        parent_start=before,
        exe=text(process.get("binary")),
        container=text(process.get("docker"), MAX_WORD) or _bare(container.get("id")),
        metadata=fitting(
            policy=text(body.get("policy_name"), MAX_WORD),
            message=text(body.get("message"), MAX_WORD),
            tags=words(body.get("tags")),
            function=text(body.get("function_name"), MAX_WORD),
            action=text(body.get("action"), MAX_WORD),
            exec_id=text(exec_id, MAX_WORD),
            parent_exec_id=text(parent_id, MAX_WORD),
            uid=natural(process.get("uid")),
            cwd=text(process.get("cwd")),
            flags=text(process.get("flags"), MAX_WORD),
            namespace=text(pod.get("namespace"), MAX_WORD),
            pod=text(pod.get("name"), MAX_WORD),
            image=text(mapping(container.get("image")).get("name"), MAX_WORD),
        ),
    )


def _exec(seen: _Seen) -> dict[str, Any]:
    process = seen.process
    binary, said = text(process.get("binary")), process.get("arguments")
    kind = "inventory" if _has_flag(process, _KNOWN_AT_START) else "exec"
    args = present(path=binary, argv=argv([binary or "?", *_split(said)]) if isinstance(said, str) else None)
    return present(kind=kind, args=args)


def _call(seen: _Seen) -> dict[str, Any]:
    body = seen.body
    probe = {
        "kprobe": body.get("function_name"),
        "lsm": body.get("function_name"),
        "tracepoint": body.get("event"),
    }.get(seen.name)
    call, hooked = call_of(probe) if probe is not None else (None, False)
    if call is None:
        called = {"accept": "accept4", "uprobe": f"uprobe_{body.get('symbol')}"}.get(seen.name, seen.name)
        call = call_name(called) or "other"
    args = _arguments(call, objects(body.get("args")), hooked=hooked) | _connection(body)
    ret = whole(mapping(body.get("return")).get("int_arg"))
    if body.get("action") in _BLOCKED:
        return present(kind="call", syscall=call, args=args, errno="EPERM")
    if hooked and ret is not None and ret >= 0:
        ret = None  # a hook's 0 is a permission, not what the call gave
    return present(kind="call", syscall=call, args=args) | ({} if ret is None else {"ret": ret})


def _arguments(call: str, given: list[Mapping[str, Any]], *, hooked: bool) -> dict[str, Any]:
    paths: list[str] = []
    texts: list[str] = []
    numbers: list[int] = []
    found: dict[str, Any] = {}
    for argument in given:
        path = next((mapping(argument[name]).get("path") for name in _PATHS if name in argument), None)
        if isinstance(path, str) and path:
            paths.append(path if path.startswith(("/", "memfd:")) else f"/{path}")
        elif isinstance(argument.get("string_arg"), str):
            texts.append(argument["string_arg"][:4096])
        elif "sock_arg" in argument:
            sock = mapping(argument["sock_arg"])
            found["addr"] = address(sock.get("family"), sock.get("daddr"), sock.get("dport"))
        elif "sockaddr_arg" in argument:
            sock = mapping(argument["sockaddr_arg"])
            found["addr"] = address(sock.get("family"), sock.get("addr"), sock.get("port"))
        elif "module_arg" in argument:
            found["name"] = text(mapping(argument["module_arg"]).get("name"), MAX_WORD)
        else:
            number = next((whole(argument[name]) for name in _INTEGERS if name in argument), None)
            numbers += [] if number is None else [number]
    if texts and call in _NAMED:
        found.setdefault("name", texts.pop(0)[:MAX_WORD])
    paths += texts
    found |= dict(zip(("path", "path2"), [path[:4096] for path in paths], strict=False))
    return present(**found | _numbers(call, numbers, hooked=hooked))


def _numbers(call: str, numbers: list[int], *, hooked: bool) -> dict[str, Any]:
    if hooked and call in OPENS:
        return {"flags": access_flags(numbers[0] if numbers else None)}
    if hooked:
        return {}
    if call in _AT_CALLS and numbers and numbers[0] in _AT_CWD:
        numbers = numbers[1:]
    found: dict[str, Any] = dict(zip(_NUMBERS.get(call, ()), numbers, strict=False))
    if "flags" in found:
        found["flags"] = flags_of(call, found["flags"])
    if "request" in found:
        found["request"] = request_of(found["request"])
    return found


def _connection(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the address of an event that has one in members of its own, beside the process or in ``socket``."""
    socket = mapping(body.get("socket")) or body
    ip = socket.get("destination_ip") or socket.get("ip")
    if ip is None:
        return {}
    port = socket.get("destination_port") if socket.get("destination_ip") else socket.get("port")
    return present(addr=address(None, ip, port), fd_kind="inet")


def _start(exec_id: Any, process: Mapping[str, Any]) -> int | None:
    """Return what is constant for one exec: ns since boot from its id, else its hash, else the time of its start."""
    if isinstance(exec_id, str) and exec_id:
        parts = _parts(exec_id)
        if parts is not None:
            return parts[0]
        return int.from_bytes(hashlib.sha256(exec_id.encode("utf-8", "replace")).digest()[:8]) & MAX_WHOLE
    return nanoseconds(process.get("start_time"))


def _pid_in(exec_id: Any) -> int | None:
    parts = _parts(exec_id) if isinstance(exec_id, str) else None
    return None if parts is None else pid(parts[1])


def _parts(exec_id: str) -> tuple[int, int] | None:
    """Return (ns since boot, pid) of an exec id."""
    try:
        plain = base64.b64decode(exec_id, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    since, _, number = plain.rpartition(":")
    found, owner = natural(since.rpartition(":")[2]), natural(number)
    return None if found is None or owner is None else (found, owner)


def _has_flag(process: Mapping[str, Any], flag: str) -> bool:
    said = process.get("flags")
    return isinstance(said, str) and flag in said.split()


def _bare(container: Any) -> str | None:
    """Return a container's id without the name of its runtime."""
    found = text(container, MAX_WORD)
    return None if found is None else found.rpartition("://")[2]


def _split(arguments: str) -> list[str]:
    try:
        return shlex.split(arguments[:4096])
    except ValueError:  # a quote that does not end: it is not the shell's
        return arguments[:4096].split()
