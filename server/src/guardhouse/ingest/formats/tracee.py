"""An event of Tracee in our words: program starts, forks and ends, calls, and what its signatures found.

Sources: Tracee's `trace.Event` as its JSON printer and webhook write it, and the newer `v1beta1.Event` (protobuf JSON),
which is brought into the older form first. Processes are told apart by `processEntityId`, else by the start of their
main thread.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from guardhouse.ingest.formats.hooks import OPENS, call_of, flags_of, request_of
from guardhouse.ingest.formats.reading import (
    MAX_WORD,
    Reading,
    Unmapped,
    address,
    argv,
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

SOURCE: Final = "tracee"
_EXEC: Final = "sched_process_exec"
_FORK: Final = "sched_process_fork"
_EXIT: Final = "sched_process_exit"
_SEVERITIES: Final = ("informational", "notice", "warning", "error", "critical")
_SEVERITY_NAMES: Final = {"INFO": 0, "LOW": 1, "MEDIUM": 2, "HIGH": 3, "CRITICAL": 4}
_TECHNIQUE: Final = re.compile(r"T[0-9]{4}(?:\.[0-9]{3})?")
_PATHS: Final = ("pathname", "path", "filename", "oldpath", "old_path", "old_name", "src_path", "source")
_SECOND_PATHS: Final = ("newpath", "new_path", "new_name", "linkpath", "target")
_FDS: Final = ("fd", "sockfd", "oldfd")
_ADDRESSES: Final = ("addr", "remote_addr", "local_addr")
_USERS: Final = ("uid", "euid", "ruid")
_KNOWN: Final = frozenset(
    {*_PATHS, *_SECOND_PATHS, *_FDS, *_ADDRESSES, "flags", "mode", "newfd", "pid", "request", "argv", "name"}
)


def read_tracee(event: Mapping[str, Any]) -> Reading:
    """Return one event as exec, fork, exit, call or finding.

    Raises:
        Unmapped: it has no name, or no process.
    """
    flat = event if "eventName" in event or "name" not in event else _flattened(event)
    name = text(flat.get("eventName"), MAX_WORD)
    if name is None:
        raise Unmapped("an event of Tracee has a name", "eventName")
    host = text(flat.get("hostName"), MAX_WORD)
    args = {
        said["name"]: said.get("value")
        for said in objects(flat.get("args"))
        if isinstance(said.get("name"), str)
    }
    members = _process(flat)
    found = _finding(flat, name, args)
    if found is not None:
        members |= found
    elif "pid" not in members:
        raise Unmapped("the process has no pid", "processId")
    elif name == _EXEC:
        members |= _exec(flat, args)
    elif name == _FORK:
        members |= _fork(members["pid"], args)
    elif name == _EXIT:
        members |= _exit(members, args)
    else:
        members |= _call(flat, name, args)
    members["metadata"] = _metadata(flat, name, args, as_finding=found is not None)
    return Reading(present(timestamp=moment(flat.get("timestamp"))) | members, host)


def _process(flat: Mapping[str, Any]) -> dict[str, Any]:
    number = pid(flat.get("hostProcessId")) or pid(flat.get("processId"))
    if number is None:
        return {}
    thread = pid(flat.get("hostThreadId")) or pid(flat.get("threadId"))
    start = natural(flat.get("processEntityId")) or None
    if start is None and thread in (None, number):
        start = nanoseconds(flat.get("threadStartTime")) or None
    container = mapping(flat.get("container"))
    executable = mapping(flat.get("executable"))
    return present(
        pid=number,
        tid=thread,
        start=start,
        ppid=pid(flat.get("hostParentProcessId")) or pid(flat.get("parentProcessId")),
        parent_start=natural(flat.get("parentEntityId")) or None,
        exe=text(executable.get("path")),
        comm=text(flat.get("processName"), MAX_WORD),
        container=text(container.get("id"), MAX_WORD) or text(flat.get("containerId"), MAX_WORD),
    )


def _exec(flat: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
    path = text(args.get("pathname")) or text(args.get("cmdpath"))
    exe = path or text(mapping(flat.get("executable")).get("path"))
    return present(kind="exec", exe=exe, args=present(path=path, argv=_argv(args)))


def _fork(number: int, args: Mapping[str, Any]) -> dict[str, Any]:
    child = pid(args.get("child_pid")) or pid(args.get("child_tid"))
    if child is None or child == number:  # a thread
        return {"kind": "call", "syscall": "clone"}
    return {"kind": "fork", "child_pid": child}


def _exit(members: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
    alone = members.get("tid") in (None, members["pid"]) or args.get("process_group_exit") is True
    if not alone:
        return {"kind": "call", "syscall": "exit"}
    return present(kind="exit", code=whole(args.get("exit_code")))


def _call(flat: Mapping[str, Any], name: str, args: Mapping[str, Any]) -> dict[str, Any]:
    call, hooked = call_of(name)
    ret = whole(flat.get("returnValue"))
    if hooked and (ret is None or ret >= 0):
        ret = None  # a hook's 0 is a permission, not what the call gave
    found = present(kind="call", syscall=call or "other", args=_arguments(call or "other", args))
    return found if ret is None else found | {"ret": ret}


def _arguments(call: str, args: Mapping[str, Any]) -> dict[str, Any]:
    addr = next((mapping(args[name]) for name in _ADDRESSES if isinstance(args.get(name), dict)), None)
    dev, inode = natural(args.get("dev")), natural(args.get("inode"))
    found = present(
        path=_first(args, _PATHS),
        path2=_first(args, _SECOND_PATHS),
        flags=flags_of(call, args.get("flags"))
        or (["O_RDONLY"] if call in OPENS and "flags" in args else None),
        addr=None if addr is None else _address(addr),
        request=request_of(args.get("request")),
        argv=_argv(args),
        name=text(args.get("name"), MAX_WORD),
        inode=None if dev is None or inode is None else f"{dev}:{inode}",
    )
    numbers = {
        "fd": next((whole(args[name]) for name in _FDS if name in args), None),
        "newfd": whole(args.get("newfd")),
        "mode": whole(args.get("mode")),
        "target_pid": pid(args.get("pid")),
        "uid": next((whole(args[name]) for name in _USERS if name in args), None),
    }
    return found | {name: number for name, number in numbers.items() if number is not None}


def _address(addr: Mapping[str, Any]) -> dict[str, Any] | None:
    ip = addr.get("sin_addr") or addr.get("sin6_addr")
    port = addr.get("sin_port") if addr.get("sin_addr") else addr.get("sin6_port")
    found = address(addr.get("sa_family"), ip, port)
    path = text(addr.get("sun_path"))
    return found if path is None else (found or {}) | {"path": path}


def _argv(args: Mapping[str, Any]) -> list[str]:
    said = args.get("argv")
    return argv(words(said, 4096, 64)) if isinstance(said, list) else []


def _first(args: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((found for name in names if (found := text(args.get(name))) is not None), None)


def _finding(flat: Mapping[str, Any], name: str, args: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what one of Tracee's signatures found; None for an event that is no signature's."""
    said = mapping(mapping(flat.get("metadata")).get("Properties"))
    severity = whole(said.get("Severity"))
    if severity is None:
        return None
    techniques = [found for found in (said.get("external_id"), said.get("id")) if isinstance(found, str)]
    tactic = text(said.get("Category"), MAX_WORD)
    tags = [found for found in techniques if _TECHNIQUE.fullmatch(found)][:1]
    if tactic is not None:
        tags.append("mitre_" + tactic.lower().replace("-", "_").replace(" ", "_"))
    path = text(args.get("cmdpath"))
    return present(
        kind="finding",
        rule=text(said.get("signatureName"), MAX_WORD) or name,
        priority=_SEVERITIES[min(max(severity, 0), len(_SEVERITIES) - 1)],
        source=SOURCE,
        tags=tags,
    ) | present(exe=text(mapping(flat.get("executable")).get("path")) or path)


def _metadata(
    flat: Mapping[str, Any], name: str, args: Mapping[str, Any], *, as_finding: bool
) -> dict[str, Any]:
    kubernetes = mapping(flat.get("kubernetes"))
    about = mapping(flat.get("metadata"))
    others = args if as_finding else {key: value for key, value in args.items() if key not in _KNOWN}
    return fitting(
        event=name,
        syscall=text(flat.get("syscall"), MAX_WORD),
        policies=words(flat.get("matchedPolicies")),
        description=text(about.get("Description")),
        user=natural(flat.get("userId")),
        image=text(flat.get("containerImage")) or text(mapping(flat.get("container")).get("image")),
        pod=text(flat.get("podName"), MAX_WORD) or text(kubernetes.get("podName"), MAX_WORD),
        namespace=text(flat.get("podNamespace"), MAX_WORD) or text(kubernetes.get("podNamespace"), MAX_WORD),
        args=dict(others),
    )


def _flattened(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event of the newer shape in the members of the older one."""
    workload = mapping(event.get("workload"))
    process = mapping(workload.get("process"))
    thread = mapping(process.get("thread"))
    container = mapping(workload.get("container"))
    pod = mapping(workload.get("pod")) or mapping(mapping(workload.get("k8s")).get("pod"))
    parent = next(iter(objects(process.get("ancestors"))), {})
    return {
        "timestamp": event.get("timestamp"),
        "eventName": event.get("name"),
        "hostProcessId": _either(process, "hostPid", "host_pid"),
        "processId": process.get("pid"),
        "hostThreadId": _either(thread, "hostTid", "host_tid"),
        "threadId": thread.get("tid"),
        "threadStartTime": _either(thread, "startTime", "start_time"),
        "processEntityId": _either(process, "uniqueId", "unique_id"),
        "parentEntityId": _either(parent, "uniqueId", "unique_id"),
        "hostParentProcessId": _either(parent, "hostPid", "host_pid"),
        "parentProcessId": parent.get("pid"),
        "processName": thread.get("name"),
        "executable": process.get("executable"),
        "userId": mapping(_either(process, "realUser", "real_user")).get("id"),
        "syscall": thread.get("syscall"),
        "hostName": _either(event, "hostName", "hostname"),
        "container": {"id": container.get("id"), "image": mapping(container.get("image")).get("name")},
        "kubernetes": {"podName": pod.get("name"), "podNamespace": mapping(pod.get("namespace")).get("name")},
        "matchedPolicies": mapping(event.get("policies")).get("matched"),
        "returnValue": _returned(event),
        "args": [{"name": said.get("name"), "value": _value(said)} for said in objects(event.get("data"))],
        "metadata": _threat(event.get("threat")),
    }


def _either(found: Mapping[str, Any], camel: str, snake: str) -> Any:
    """Return a member under either of the names that protobuf JSON may give it."""
    return found.get(camel, found.get(snake))


def _value(said: Mapping[str, Any]) -> Any:
    value = next((value for name, value in said.items() if name != "name"), None)
    return value["value"] if isinstance(value, dict) and value.keys() == {"value"} else value


def _returned(event: Mapping[str, Any]) -> Any:
    named = (said for said in objects(event.get("data")) if said.get("name") == "returnValue")
    return _value(next(named, {}))


def _threat(threat: Any) -> dict[str, Any] | None:
    """Return the threat of an event of the newer shape as the properties that a signature had before."""
    if not isinstance(threat, dict):
        return None
    mitre = mapping(threat.get("mitre"))
    severity = threat.get("severity")
    number = _SEVERITY_NAMES.get(severity, 0) if isinstance(severity, str) else severity
    properties = {
        "Severity": 0 if number is None else number,
        "signatureName": threat.get("name"),
        "Category": mapping(mitre.get("tactic")).get("name"),
        "external_id": mapping(mitre.get("technique")).get("id"),
    }
    return {"Description": threat.get("description"), "Properties": properties}
