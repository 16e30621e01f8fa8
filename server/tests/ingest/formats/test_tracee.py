"""Events of Tracee in both shapes: starts, forks, ends, calls, and what its signatures found."""

from typing import Any

import pytest

from guardhouse.ingest.formats.reading import Unmapped
from guardhouse.ingest.formats.tracee import read_tracee
from server.tests.ingest.formats.samples import NODE, tracee, tracee_v1

PROCESS = {"pid": 6136, "tid": 6136, "start": 781, "ppid": 6135, "parent_start": 780, "comm": "sh"}


def members(event: dict[str, Any]) -> dict[str, Any]:
    return read_tracee(event).members


def test_a_call_of_a_process_named_by_its_entity() -> None:
    args = {"pathname": "/etc/shadow", "flags": "O_RDONLY|O_LARGEFILE", "dev": 45, "inode": 77, "ctime": 1}
    reading = read_tracee(tracee("security_file_open", args=args))
    assert reading.host == NODE
    found = dict(reading.members)
    metadata = found.pop("metadata")
    assert found == PROCESS | {
        "kind": "call",
        "timestamp": 1_767_225_600_000_000_000,
        "syscall": "openat",
        "exe": "/bin/sh",
        "container": "4f1d8a0c2b3e",
        "args": {"path": "/etc/shadow", "flags": ["O_RDONLY", "O_LARGEFILE"], "inode": "45:77"},
    }
    assert metadata["event"] == "security_file_open"
    assert metadata["policies"] == ["default"]
    assert metadata["args"] == {"dev": 45, "inode": 77, "ctime": 1}


def test_the_newer_shape_reads_the_same() -> None:
    data: list[dict[str, Any]] = [{"name": "pathname", "str": "/etc/shadow"}, {"name": "flags", "int32": 0}]
    older = members(tracee("openat", args={"pathname": "/etc/shadow", "flags": 0}))
    newer = members(tracee_v1("openat", data))
    assert newer.pop("timestamp") == "2026-01-01T00:00:00.000000001Z"
    for name in ("timestamp", "ret"):
        del older[name]
    for found in (older, newer):
        del found["metadata"]
    assert newer == older


def test_snake_case_members_of_the_newer_shape() -> None:
    event = tracee_v1("openat", [])
    own = event["workload"]["process"]
    own |= {"host_pid": own.pop("hostPid"), "unique_id": own.pop("uniqueId")}
    own["thread"] = {"start_time": "2025-12-31T23:58:20Z", "host_tid": 6136}
    assert {name: members(event)[name] for name in ("pid", "tid", "start")} == {
        "pid": 6136,
        "tid": 6136,
        "start": 781,
    }


def test_without_an_entity_the_start_of_the_main_thread_stands() -> None:
    plain = tracee("read")
    del plain["processEntityId"]
    assert members(plain)["start"] == 1_767_225_500_000_000_000
    assert "start" not in members(plain | {"hostThreadId": 6140})


def test_a_start() -> None:
    args = {"pathname": "/usr/bin/id", "argv": ["id", "-u"], "cmdpath": "id"}
    found = members(tracee("sched_process_exec", args=args))
    assert (found["kind"], found["exe"]) == ("exec", "/usr/bin/id")
    assert found["args"] == {"path": "/usr/bin/id", "argv": ["id", "-u"]}


def test_a_fork_a_thread_and_their_ends() -> None:
    fork = members(tracee("sched_process_fork", args={"child_pid": 7000, "child_tid": 7000}))
    assert (fork["kind"], fork["child_pid"]) == ("fork", 7000)
    thread = members(tracee("sched_process_fork", args={"child_pid": 6136, "child_tid": 7001}))
    assert (thread["kind"], thread["syscall"]) == ("call", "clone")
    end = members(tracee("sched_process_exit", args={"exit_code": 3, "process_group_exit": True}))
    assert (end["kind"], end["code"]) == ("exit", 3)
    one_of_many = members(tracee("sched_process_exit", hostThreadId=7001, args={"exit_code": 0}))
    assert (one_of_many["kind"], one_of_many["syscall"]) == ("call", "exit")


@pytest.mark.parametrize(
    ("name", "args", "call", "told"),
    [
        ("connect", {"sockfd": 5, "addr": {"sa_family": "AF_INET", "sin_addr": "203.0.113.9", "sin_port": "443"}},
         "connect", {"fd": 5, "addr": {"family": "inet", "ip": "203.0.113.9", "port": 443}}),
        ("security_socket_connect", {"remote_addr": {"sa_family": "AF_INET6", "sin6_addr": "::1", "sin6_port": 22}},
         "connect", {"addr": {"family": "inet6", "ip": "::1", "port": 22}}),
        ("connect", {"addr": {"sa_family": "AF_UNIX", "sun_path": "/run/docker.sock"}}, "connect",
         {"addr": {"family": "unix", "path": "/run/docker.sock"}}),
        ("dup2", {"oldfd": 7, "newfd": 0}, "dup2", {"fd": 7, "newfd": 0}),
        ("setuid", {"uid": 0}, "setuid", {"uid": 0}),
        ("ptrace", {"request": "PTRACE_ATTACH", "pid": 99}, "ptrace", {"request": "PTRACE_ATTACH", "target_pid": 99}),
        ("ptrace", {"request": 16, "pid": 99}, "ptrace", {"request": "PTRACE_ATTACH", "target_pid": 99}),
        ("rename", {"oldpath": "/a", "newpath": "/b"}, "rename", {"path": "/a", "path2": "/b"}),
        ("chmod", {"pathname": "/x", "mode": 2541}, "chmod", {"path": "/x", "mode": 2541}),
        ("openat", {"pathname": "/x", "flags": 0}, "openat", {"path": "/x", "flags": ["O_RDONLY"]}),
        ("net_packet_dns_request", {"src": "10.0.0.1"}, "net_packet_dns_request", {}),
    ],
)  # fmt: skip
def test_arguments_by_name(name: str, args: dict[str, Any], call: str, told: dict[str, Any]) -> None:
    found = members(tracee(name, args=args))
    assert (found["kind"], found["syscall"], found.get("args", {})) == ("call", call, told)


def test_a_call_that_failed() -> None:
    assert members(tracee("setuid", args={"uid": 0}, returnValue=-1))["ret"] == -1
    assert "ret" not in members(tracee("security_file_open", returnValue=0))


def test_what_a_signature_found_is_a_finding() -> None:
    properties = {
        "Severity": 3, "Category": "defense-evasion", "Technique": "Reflective Code Loading", "external_id": "T1620",
        "signatureID": "TRC-105", "signatureName": "Fileless execution detected",
    }  # fmt: skip
    found = members(
        tracee(
            "fileless_execution",
            args={"pathname": "memfd:x"},
            metadata={"Version": "1", "Description": "A program ran from memory", "Properties": properties},
        )
    )
    assert {name: found[name] for name in ("kind", "rule", "priority", "source", "tags", "pid")} == {
        "kind": "finding",
        "rule": "Fileless execution detected",
        "priority": "error",
        "source": "tracee",
        "tags": ["T1620", "mitre_defense_evasion"],
        "pid": 6136,
    }
    assert found["metadata"]["args"] == {"pathname": "memfd:x"}


def test_a_threat_of_the_newer_shape_is_a_finding() -> None:
    threat = {
        "name": "Fileless execution", "severity": "CRITICAL", "description": "A program ran from memory",
        "mitre": {"tactic": {"name": "Defense Evasion"}, "technique": {"id": "T1620", "name": "Reflective"}},
    }  # fmt: skip
    found = members(tracee_v1("fileless_execution", [], threat=threat))
    assert (found["rule"], found["priority"]) == ("Fileless execution", "critical")
    assert found["tags"] == ["T1620", "mitre_defense_evasion"]


def test_a_finding_without_a_process_is_about_the_host() -> None:
    alone = {"eventName": "hooked_syscall", "metadata": {"Properties": {"Severity": 2}}}
    assert members(alone)["kind"] == "finding"
    assert "pid" not in members(alone)


def test_time_since_boot_is_no_time() -> None:
    assert "timestamp" not in members(tracee("read", timestamp=26_018_249_532))


@pytest.mark.parametrize(
    "event", [{}, {"eventName": 7}, {"eventName": "read"}, {"name": "read", "workload": []}]
)
def test_what_has_no_name_or_no_process_is_refused(event: dict[str, Any]) -> None:
    with pytest.raises(Unmapped):
        read_tracee(event)
