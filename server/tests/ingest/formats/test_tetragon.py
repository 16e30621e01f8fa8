"""Events of Tetragon, of today and of 2021: starts, ends, probes; processes named by their exec ids."""

from typing import Any

import pytest

from guardhouse.ingest.formats.reading import Unmapped
from guardhouse.ingest.formats.tetragon import read_tetragon
from server.tests.ingest.formats.samples import NODE, exec_id, process, tetragon

SHELL, TOOL = 1_000_000_000, 2_000_000_000


def members(event: dict[str, Any]) -> dict[str, Any]:
    return read_tetragon(event).members


def started(**changed: Any) -> dict[str, Any]:
    return process(20, TOOL, "/usr/bin/curl", (10, SHELL), arguments="-s https://x.example", **changed)


def kprobe(function: str, *args: dict[str, Any], **body: Any) -> dict[str, Any]:
    return members(tetragon("kprobe", process=started(), function_name=function, args=list(args), **body))


def test_a_start_is_an_exec_of_a_process_named_by_its_exec_id() -> None:
    event = tetragon("exec", process=started(), parent=process(10, SHELL, "/bin/sh"))
    reading = read_tetragon(event | {"time": "2026-01-01T00:00:00.123456789Z"})
    assert reading.host == NODE
    found = dict(reading.members)
    metadata = found.pop("metadata")
    assert found == {
        "kind": "exec",
        "timestamp": "2026-01-01T00:00:00.123456789Z",
        "pid": 20,
        "tid": 20,
        "start": TOOL,
        "ppid": 10,
        "parent_start": SHELL,
        "exe": "/usr/bin/curl",
        "args": {"path": "/usr/bin/curl", "argv": ["/usr/bin/curl", "-s", "https://x.example"]},
        "container": "4f1d8a0c2b3e",
    }
    assert metadata["exec_id"] == exec_id(TOOL, 20)
    assert metadata["parent_exec_id"] == exec_id(SHELL, 10)
    assert metadata["image"] == "shop:1"


def test_the_parent_s_pid_is_in_its_id_too() -> None:
    found = members(tetragon("exec", process=started()))
    assert (found["ppid"], found["parent_start"]) == (10, SHELL)


def test_a_program_that_became_another_stays_one_process() -> None:
    became = process(10, TOOL, "/usr/bin/python3", (10, SHELL), flags="execve")
    found = members(tetragon("exec", process=became, parent=process(10, SHELL, "/bin/sh")))
    assert (found["pid"], found["start"]) == (10, SHELL)
    assert not {"ppid", "parent_start"} & found.keys()


def test_what_ran_before_is_inventory() -> None:
    found = members(tetragon("exec", process=process(1, 0, "/sbin/init", flags="procFS auid")))
    assert found["kind"] == "inventory"


@pytest.mark.parametrize(
    ("named", "start"),
    [
        ("dev-child", None),
        (exec_id(5, 20, "cluster/node:with:colons"), 5),
        ("bm90IHRocmVlIHBhcnRz", None),
    ],
)
def test_ids_of_another_form_name_a_process_all_the_same(named: str, start: int | None) -> None:
    first = members(tetragon("exec", process=started() | {"exec_id": named}))["start"]
    assert first == members(tetragon("exit", process=started() | {"exec_id": named}))["start"]
    assert start in (None, first)


def test_without_an_id_the_time_of_the_start_stands() -> None:
    plain = started()
    del plain["exec_id"]
    assert members(tetragon("exec", process=plain))["start"] == 1_767_225_600_000_000_000


def test_an_end() -> None:
    found = members(tetragon("exit", process=started(), status=137, signal="SIGKILL"))
    assert (found["kind"], found["code"], found["metadata"]["signal"]) == ("exit", 137, "SIGKILL")


@pytest.mark.parametrize(
    ("function", "args", "call", "told"),
    [
        ("tcp_connect", [{"sock_arg": {"family": "AF_INET", "daddr": "203.0.113.9", "dport": 4444}}], "connect",
         {"addr": {"family": "inet", "ip": "203.0.113.9", "port": 4444}}),
        ("security_socket_connect", [{"sockaddr_arg": {"family": "AF_INET6", "addr": "2001:db8::1", "port": 443}}],
         "connect", {"addr": {"family": "inet6", "ip": "2001:db8::1", "port": 443}}),
        ("__x64_sys_setuid", [{"int_arg": 0}], "setuid", {"uid": 0}),
        ("__arm64_sys_dup2", [{"int_arg": 7}, {"int_arg": 1}], "dup2", {"fd": 7, "newfd": 1}),
        ("sys_ptrace", [{"int_arg": 16}, {"int_arg": 99}], "ptrace", {"request": "PTRACE_ATTACH", "target_pid": 99}),
        ("sys_openat", [{"int_arg": -100}, {"string_arg": "/etc/shadow"}, {"int_arg": 0o1101}], "openat",
         {"path": "/etc/shadow", "flags": ["O_WRONLY", "O_CREAT", "O_TRUNC"]}),
        ("security_file_permission", [{"file_arg": {"path": "/root/.bashrc"}}, {"int_arg": 2}], "openat",
         {"path": "/root/.bashrc", "flags": ["O_WRONLY"]}),
        ("security_file_permission", [{"file_arg": {"path": "/etc/shadow"}}, {"int_arg": 4}], "openat",
         {"path": "/etc/shadow", "flags": ["O_RDONLY"]}),
        ("sys_renameat2", [{"string_arg": "/a"}, {"string_arg": "/b"}], "renameat2", {"path": "/a", "path2": "/b"}),
        ("sys_memfd_create", [{"string_arg": "payload"}, {"int_arg": 1}], "memfd_create", {"name": "payload"}),
        ("do_init_module", [{"module_arg": {"name": "rootkit"}}], "init_module", {"name": "rootkit"}),
        ("sys_unshare", [{"int_arg": 0x10000000}], "unshare", {"flags": ["CLONE_NEWUSER"]}),
        ("Some-Odd.Function", [{"bytes_arg": "AAAA"}, {"truncated_bytes_arg": {"orig_size": "1"}}],
         "some_odd_function", {}),
    ],
)  # fmt: skip
def test_a_probe_is_the_call_that_it_watches(
    function: str, args: list[dict[str, Any]], call: str, told: dict[str, Any]
) -> None:
    found = kprobe(function, *args)
    assert (found["kind"], found["syscall"]) == ("call", call)
    assert found.get("args", {}) == told


def test_paths_of_2021_began_without_a_slash() -> None:
    assert kprobe("__x64_sys_write", {"file_arg": {"path": "etc/passwd"}})["args"]["path"] == "/etc/passwd"


def test_what_a_call_gave_and_what_a_policy_forbade() -> None:
    assert kprobe("sys_setuid", {"int_arg": 0}, **{"return": {"int_arg": -1}})["ret"] == -1
    assert "ret" not in kprobe("security_file_open", **{"return": {"int_arg": 0}})
    assert kprobe("security_file_open", action="KPROBE_ACTION_OVERRIDE")["errno"] == "EPERM"
    assert kprobe("tcp_connect", action="KPROBE_ACTION_SIGKILL", policy_name="egress")["metadata"] == (
        kprobe("tcp_connect")["metadata"] | {"action": "KPROBE_ACTION_SIGKILL", "policy": "egress"}
    )


@pytest.mark.parametrize(
    ("name", "body", "call", "addr"),
    [
        ("connect", {"destination_ip": "203.0.113.9", "destination_port": 22, "source_ip": "10.0.0.1"}, "connect",
         {"family": "inet", "ip": "203.0.113.9", "port": 22}),
        ("connect", {"socket": {"destination_ip": "2001:db8::2", "destination_port": 22}}, "connect",
         {"family": "inet6", "ip": "2001:db8::2", "port": 22}),
        ("listen", {"ip": "0.0.0.0", "port": 8080}, "listen", {"family": "inet", "ip": "0.0.0.0", "port": 8080}),
        ("accept", {"destination_ip": "10.0.0.9", "destination_port": 5}, "accept4",
         {"family": "inet", "ip": "10.0.0.9", "port": 5}),
        ("close", {"destination_ip": "203.0.113.9", "destination_port": 22}, "close",
         {"family": "inet", "ip": "203.0.113.9", "port": 22}),
    ],
)  # fmt: skip
def test_connections_have_events_of_their_own(
    name: str, body: dict[str, Any], call: str, addr: dict[str, Any]
) -> None:
    found = members(tetragon(name, process=started(), **body))
    assert (found["syscall"], found["args"]) == (call, {"addr": addr, "fd_kind": "inet"})


@pytest.mark.parametrize(
    ("name", "body", "call"),
    [
        ("tracepoint", {"subsys": "syscalls", "event": "sys_enter_mount"}, "mount"),
        ("lsm", {"function_name": "file_open", "args": [{"file_arg": {"path": "/x"}}]}, "openat"),
        ("uprobe", {"path": "/bin/bash", "symbol": "readline"}, "uprobe_readline"),
        ("loader", {"path": "/lib/x.so"}, "loader"),
        ("kprobe", {}, "kprobe"),
        ("something_new", {}, "something_new"),
    ],
)
def test_other_sensors_are_calls_too(name: str, body: dict[str, Any], call: str) -> None:
    assert members(tetragon(name, process=started(), **body))["syscall"] == call


def test_the_flat_form() -> None:
    flat = {"process_exec": started(), "node_name": NODE, "time": "2026-01-01T00:00:00Z"}
    assert members(flat)["exe"] == "/usr/bin/curl"
    assert (members(flat)["ppid"], members(flat)["parent_start"]) == (10, SHELL)


def test_what_was_dropped_is_a_loss() -> None:
    dropped = {"rate_limit_info": {"number_of_dropped_process_events": "312"}, "node_name": NODE}
    assert members(dropped) == {"kind": "loss", "count": 312, "where": "tetragon"}


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"node_name": NODE},
        {"process_exec": 7},
        {"process_exec": {"parent": {}}},
        {"process_exec": {"process": {"binary": "/x"}}},
        {"process_exec": {"process": []}},
        {"test": {"arg0": 1}},
    ],
)
def test_what_is_no_event_of_a_process_is_refused(event: dict[str, Any]) -> None:
    with pytest.raises(Unmapped):
        read_tetragon(event)


def test_arguments_that_are_no_shell_words_are_split_all_the_same() -> None:
    odd = started() | {"arguments": "it's x"}
    assert members(tetragon("exec", process=odd))["args"]["argv"][1:] == ["it's", "x"]
    many = started() | {"arguments": "a " * 3000}
    assert len(members(tetragon("exec", process=many))["args"]["argv"]) == 64
