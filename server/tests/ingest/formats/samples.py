"""Events of the three tools as their JSON looks, written by hand for these tests."""

import base64
from datetime import datetime
from typing import Any

NODE = "node-1"


def exec_id(since_boot_ns: int, pid: int, node: str = NODE) -> str:
    """Return an exec id as Tetragon makes it."""
    return base64.b64encode(f"{node}:{since_boot_ns}:{pid}".encode()).decode()


def falco(at: datetime | None = None, **changed: Any) -> dict[str, Any]:
    """Return an alert of Falco about a shell in a container."""
    alert: dict[str, Any] = {
        "hostname": NODE,
        "output": "A shell was spawned in a container with an attached terminal",
        "output_fields": {
            "container.id": "4f1d8a0c2b3e",
            "container.name": "shop",
            "evt.time": 1_767_225_600_000_000_000,
            "proc.cmdline": "bash -i",
            "proc.exepath": "/usr/bin/bash",
            "proc.name": "bash",
            "proc.pid": 4711,
            "proc.ppid": 4700,
            "proc.pname": "runc",
            "user.name": "root",
            "k8s.ns.name": None,
        },
        "priority": "Notice",
        "rule": "Terminal shell in container",
        "source": "syscall",
        "tags": ["container", "mitre_execution", "T1059", "shell"],
    }
    if at is not None:
        alert["time"] = at.isoformat().replace("+00:00", "Z")
    return alert | changed


def process(
    pid: int, since_boot_ns: int, binary: str, parent: tuple[int, int] | None = None, **changed: Any
) -> dict[str, Any]:
    """Return a process of Tetragon; ``parent`` is its pid and time since boot."""
    found = {
        "exec_id": exec_id(since_boot_ns, pid),
        "pid": pid,
        "uid": 0,
        "cwd": "/srv",
        "binary": binary,
        "flags": "execve clone",
        "start_time": "2026-01-01T00:00:00.000000000Z",
        "auid": 4_294_967_295,
        "pod": {
            "namespace": "shop",
            "name": "web-0",
            "container": {"id": "containerd://4f1d8a0c2b3e", "name": "web", "image": {"name": "shop:1"}},
        },
        "docker": "4f1d8a0c2b3e",
        "refcnt": 1,
        "tid": pid,
    }
    if parent is not None:
        found["parent_exec_id"] = exec_id(parent[1], parent[0])
    return found | changed


def tetragon(name: str, at: datetime | None = None, **body: Any) -> dict[str, Any]:
    """Return an event of Tetragon."""
    event: dict[str, Any] = {f"process_{name}": body, "node_name": NODE}
    if at is not None:
        event["time"] = at.isoformat().replace("+00:00", "Z")
    return event


def tracee(name: str, at: datetime | None = None, args: Any = (), **changed: Any) -> dict[str, Any]:
    """Return an event of Tracee in its older shape; ``args`` is a mapping of names to values."""
    event = {
        "timestamp": 1_767_225_600_000_000_000 if at is None else int(at.timestamp() * 1_000_000) * 1000,
        "threadStartTime": 1_767_225_500_000_000_000,
        "processorId": 1,
        "processId": 9,
        "cgroupId": 8972,
        "threadId": 9,
        "parentProcessId": 8,
        "hostProcessId": 6136,
        "hostThreadId": 6136,
        "hostParentProcessId": 6135,
        "userId": 33,
        "processName": "sh",
        "executable": {"path": "/bin/sh"},
        "hostName": NODE,
        "container": {"id": "4f1d8a0c2b3e", "image": "shop:1"},
        "kubernetes": {"podName": "web-0", "podNamespace": "shop"},
        "eventId": "722",
        "eventName": name,
        "matchedPolicies": ["default"],
        "argsNum": len(args),
        "returnValue": 0,
        "syscall": "openat",
        "stackAddresses": None,
        "contextFlags": {"containerStarted": True, "isCompat": False},
        "threadEntityId": 781,
        "processEntityId": 781,
        "parentEntityId": 780,
        "args": [{"name": key, "type": "const char*", "value": value} for key, value in dict(args).items()],
    }
    return event | changed


def tracee_v1(name: str, data: list[dict[str, Any]], **changed: Any) -> dict[str, Any]:
    """Return an event of Tracee in its newer shape."""
    return {
        "timestamp": "2026-01-01T00:00:00.000000001Z",
        "id": name,
        "name": name,
        "policies": {"matched": ["default"]},
        "workload": {
            "process": {
                "executable": {"path": "/bin/sh"},
                "uniqueId": 781,
                "hostPid": 6136,
                "pid": 9,
                "realUser": {"id": 33},
                "thread": {
                    "startTime": "2025-12-31T23:58:20Z",
                    "name": "sh",
                    "uniqueId": 781,
                    "hostTid": 6136,
                    "tid": 9,
                },
                "ancestors": [{"uniqueId": 780, "hostPid": 6135, "pid": 8}],
            },
            "container": {"id": "4f1d8a0c2b3e", "image": {"name": "shop:1"}},
            "k8s": {"pod": {"name": "web-0"}},
        },
        "data": data,
    } | changed
