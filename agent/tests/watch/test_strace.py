# ruff: noqa: E501 -- lines of strace are as long as they are
import gzip
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard_agent.watch import processes, strace_reader
from guard_agent.watch.pending import PendingCalls
from guard_agent.watch.read_report import ReadReport
from guard_agent.watch.strace import alphabet_of, needs_day, open_log, own_pid, read_strace

T = 1795305315_000000000
KINDS = {"call", "exec", "fork", "exit", "calls"}
ARGS = {
    "path", "path2", "flags", "mode", "fd", "newfd", "fd_kind", "addr", "target_pid", "request", "uid", "gid", "argv", "len",
    "name",
}  # fmt: skip


def read(log: str, **options: Any) -> list[dict[str, Any]]:
    return list(read_strace(log.strip().splitlines(), **options))


def brief(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(event["kind"], event["pid"], event.get("syscall")) for event in events]


def test_exec_carries_program_and_arguments() -> None:
    (event,) = read('10 1795305315.5 execve("/bin/sh", ["sh", "-c", "id"], 0x7ff /* 3 vars */) = 0')
    assert event == {
        "kind": "exec",
        "timestamp": T + 500_000_000,
        "pid": 10,
        "start": T + 500_000_000,
        "exe": "/bin/sh",
        "syscall": "execve",
        "args": {"path": "/bin/sh", "argv": ["sh", "-c", "id"]},
        "ret": 0,
    }


def test_failed_exec_is_a_call() -> None:
    (event,) = read(
        '10 1795305315.5 execve("/nope", ["nope"], 0x7ff) = -1 ENOENT (No such file or directory)'
    )
    assert (event["kind"], event["errno"], event["ret"]) == ("call", "ENOENT", -1)
    assert "exe" not in event


def test_relative_exec_is_resolved_where_the_directory_is_known() -> None:
    log = '10 1795305315.5 execve("./x", ["x"], 0x7ff) = 0\n10 1795305315.6 chdir("../b") = 0\n10 1795305315.7 execve("y", ["y"], 0) = 0'
    first, _, second = read(log, directory="/srv/a")
    assert (first["exe"], first["args"]["path"]) == ("/srv/a/x", "./x")
    assert second["exe"] == "/srv/b/y"
    assert read(log)[0]["exe"] == "./x"


def test_unnamed_file_is_seen_through_its_descriptor() -> None:
    log = """
10 1795305315.1 memfd_create("pay", MFD_CLOEXEC) = 3</memfd:pay>(deleted)
10 1795305315.2 dup2(3</memfd:pay>(deleted), 9) = 9</memfd:pay>(deleted)
10 1795305315.3 execve("/proc/self/fd/9", ["x"], 0x7ff) = 0
11 1795305315.4 execveat(5</memfd:q>(deleted), "", ["x"], 0x7ff, AT_EMPTY_PATH) = 0
"""
    events = read(log)
    assert events[0]["args"] == {"name": "pay", "flags": ["MFD_CLOEXEC"], "fd": 3, "fd_kind": "memfd"}
    assert events[2]["exe"] == "/memfd:pay (deleted)"
    assert events[3]["exe"] == "/memfd:q (deleted)"


def test_a_new_pid_while_one_process_forks_is_its_child() -> None:
    log = """
10 1795305315.1 vfork( <unfinished ...>
11 1795305315.2 execve("/bin/id", ["id"], 0x7ff <unfinished ...>
10 1795305315.3 <... vfork resumed>) = 11
11 1795305315.4 <... execve resumed>) = 0
11 1795305315.5 exit_group(3) = ?
11 1795305315.6 +++ exited with 3 +++
"""
    fork, started, ended = read(log)
    assert (fork["kind"], fork["pid"], fork["child_pid"], fork["child_start"]) == (
        "fork",
        10,
        11,
        T + 200_000_000,
    )
    assert (started["kind"], started["ppid"], started["start"]) == ("exec", 10, fork["child_start"])
    assert (ended["kind"], ended["code"], ended["pid"]) == ("exit", 3, 11)


def test_with_two_in_fork_the_return_tells_whose_child_it_is() -> None:
    log = """
10 1795305315.01 getpid() = 10
20 1795305315.02 getpid() = 20
10 1795305315.1 vfork( <unfinished ...>
20 1795305315.2 vfork( <unfinished ...>
30 1795305315.3 getpid() = 30
31 1795305315.4 getpid() = 31
20 1795305315.5 <... vfork resumed>) = 30
10 1795305315.6 <... vfork resumed>) = 31
"""
    forks = [e for e in read(log) if e["kind"] == "fork"]
    assert [(e["pid"], e["child_pid"], e["child_start"]) for e in forks] == [
        (20, 30, T + 300_000_000),
        (10, 31, T + 400_000_000),
    ]


def test_fork_told_by_its_return_and_pid_used_again() -> None:
    log = """
10 1795305315.1 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f) = 11
11 1795305315.2 exit_group(0) = ?
10 1795305316.1 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f) = 11
11 1795305316.2 exit_group(1) = ?
10 1795305317.0 fork() = -1 EAGAIN (Resource temporarily unavailable)
"""
    events = read(log)
    assert brief(events) == [
        ("fork", 10, "clone"), ("exit", 11, "exit_group"), ("fork", 10, "clone"), ("exit", 11, "exit_group"),
        ("call", 10, "fork"),
    ]  # fmt: skip
    assert events[0]["child_start"] == events[1]["start"] != events[2]["child_start"] == events[3]["start"]


def test_threads_belong_to_their_process() -> None:
    log = """
10 1795305315.1 clone3({flags=CLONE_VM|CLONE_THREAD, child_tid=0x7f}, 88) = 12
12 1795305315.2 getpid() = 10
12 1795305315.3 exit(0) = ?
12 1795305315.4 +++ exited with 0 +++
10 1795305315.5 clone3({flags=CLONE_VM|CLONE_THREAD, child_tid=0x7f} <unfinished ...>
13 1795305315.6 getpid() = 10
10 1795305315.7 <... clone3 resumed> => {parent_tid=[13]}, 88) = 13
13 1795305315.8 execve("/bin/true", ["true"], 0x7f <pid changed to 10 ...>
10 1795305315.9 +++ superseded by execve in pid 13 +++
10 1795305316.0 <... execve resumed>) = 0
10 1795305316.1 +++ killed by SIGKILL (core dumped) +++
"""
    events = read(log)
    assert {event["pid"] for event in events} == {10}
    assert [event.get("tid") for event in events] == [None, 12, 12, 13, None, None, None]
    assert (events[-2]["kind"], events[-2]["exe"]) == ("exec", "/bin/true")
    assert (events[-1]["kind"], events[-1]["code"], events[-1]["metadata"]) == (
        "exit",
        137,
        {"signal": "SIGKILL"},
    )


def test_exit_is_told_once_with_or_without_a_last_line() -> None:
    assert brief(
        read("10 1795305315.1 exit_group(0 <unfinished ...>\n10 1795305315.2 <... exit_group resumed>) = ?")
    ) == [("exit", 10, "exit_group")]
    assert brief(read("10 1795305315.1 +++ exited with 7 +++")) == [("exit", 10, None)]


@pytest.mark.parametrize(
    ("call", "args"),
    [
        ('openat(AT_FDCWD</srv>, "a/../b", O_WRONLY|O_CREAT, 0644) = 3</srv/b>', {"path": "a/../b", "path2": "/srv/b", "flags": ["O_WRONLY", "O_CREAT"], "mode": 420}),
        ('openat(AT_FDCWD</srv>, "/lib/libc.so.6", O_RDONLY) = 3</usr/lib/libc.so.6>', {"path": "/lib/libc.so.6", "path2": "/usr/lib/libc.so.6", "flags": ["O_RDONLY"]}),
        ('openat(7</etc>, "shadow", O_RDONLY) = -1 EACCES (Permission denied)', {"fd": 7, "path": "shadow", "path2": "/etc/shadow", "flags": ["O_RDONLY"]}),
        ('openat2(AT_FDCWD</srv>, "/a", {flags=O_RDWR|O_CREAT, mode=0600, resolve=0}, 24) = 3</a>', {"path": "/a", "flags": ["O_RDWR", "O_CREAT"], "mode": 384}),
        ('open("/dev/null", O_RDWR) = 3</dev/null<char 1:3>>', {"path": "/dev/null", "flags": ["O_RDWR"]}),
        ('connect(3<TCP:[1]>, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("203.0.113.9")}, 16) = 0', {"fd": 3, "fd_kind": "inet", "addr": {"family": "inet", "ip": "203.0.113.9", "port": 80}}),
        ('connect(3<TCPv6:[1]>, {sa_family=AF_INET6, sin6_port=htons(9), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::1", &sin6_addr), sin6_scope_id=0}, 28) = 0', {"fd": 3, "fd_kind": "inet6", "addr": {"family": "inet6", "ip": "::1", "port": 9}}),
        ('bind(7<UNIX-STREAM:[1]>, {sa_family=AF_UNIX, sun_path=@"abs"}, 6) = 0', {"fd": 7, "fd_kind": "unix", "addr": {"family": "unix", "path": "@abs"}}),
        ('accept4(4<TCP:[127.0.0.1:80]>, {sa_family=AF_INET, sin_port=htons(5), sin_addr=inet_addr("10.0.0.1")}, [16], SOCK_CLOEXEC) = 5<TCP:[127.0.0.1:80->10.0.0.1:5]>', {"fd": 4, "fd_kind": "inet", "addr": {"family": "inet", "ip": "10.0.0.1", "port": 5}, "flags": ["SOCK_CLOEXEC"]}),
        ("socket(AF_PACKET, SOCK_RAW, htons(0x3)) = 8<socket:[1]>", {"fd_kind": "packet", "flags": ["SOCK_RAW"], "fd": 8}),
        ("dup2(3<TCP:[1]>, 0</dev/null<char 1:3>>) = 0<TCP:[1]>", {"fd": 3, "fd_kind": "inet", "newfd": 0}),
        ('rename("a", "/b") = 0', {"path": "/srv/a", "path2": "/b"}),
        ('renameat2(AT_FDCWD</x>, "a", 5</y>, "b", RENAME_NOREPLACE) = 0', {"path": "/x/a", "path2": "/y/b", "flags": ["RENAME_NOREPLACE"]}),
        ('symlinkat("../t", AT_FDCWD</srv>, "l") = 0', {"path": "../t", "path2": "/srv/l"}),
        ('mount("none", "/m", "tmpfs", MS_NOSUID|MS_NODEV, NULL) = 0', {"path": "none", "path2": "/m", "name": "tmpfs", "flags": ["MS_NOSUID", "MS_NODEV"]}),
        ('chmod("t", 04755) = 0', {"path": "t", "path2": "/srv/t", "mode": 0o4755}),
        ("fchmod(12</srv/t>, 01777) = 0", {"fd": 12, "fd_kind": "file", "path": "/srv/t", "mode": 0o1777}),
        ("ptrace(PTRACE_ATTACH, 99) = 0", {"request": "PTRACE_ATTACH", "target_pid": 99}),
        ("setresuid(-1, 0, -1) = 0", {"uid": 0}),
        ("setgid(5) = 0", {"gid": 5}),
        ('prctl(PR_SET_NAME, "x") = 0', {"request": "PR_SET_NAME", "name": "x"}),
        ("unshare(CLONE_NEWNS|CLONE_NEWUSER) = 0", {"flags": ["CLONE_NEWNS", "CLONE_NEWUSER"]}),
        ("bpf(BPF_PROG_LOAD, NULL, 0) = -1 EPERM (x)", {"request": "BPF_PROG_LOAD"}),
        ("mprotect(0x7f, 4096, PROT_READ|PROT_WRITE|PROT_EXEC) = 0", {"len": 4096, "flags": ["PROT_READ", "PROT_WRITE", "PROT_EXEC"]}),
        ("mprotect(0x7f, 4096, PROT_READ) = 0", None),
        ('sendto(3<UDP:[1]>, "x", 1, 0, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("9.9.9.9")}, 16) = 1', {"fd": 3, "fd_kind": "inet", "addr": {"family": "inet", "ip": "9.9.9.9", "port": 53}}),
        ('sendto(3<TCP:[1]>, "x", 1, 0, NULL, 0) = 1', None),
    ],
)  # fmt: skip
def test_arguments_become_the_known_keys(call: str, args: dict[str, Any] | None) -> None:
    (event,) = read("10 1795305315.1 " + call, directory="/srv")
    assert event.get("args") == args


def test_calls_are_folded_and_anything_else_closes_the_run() -> None:
    lines = [f"10 1795305315.{n:06d} read(3, 0x7f, 1) = 1" for n in range(600)]
    lines += [
        "11 1795305315.7 read(3, 0x7f, 1) = 1",
        '10 1795305315.8 unlink("/a") = 0',
        "10 1795305317.0 getpid() = 10",
    ]
    events = list(read_strace(lines, fold=True))
    assert [(e["kind"], e["pid"], len(e.get("names", []))) for e in events] == [
        ("calls", 10, 512), ("calls", 10, 88), ("calls", 11, 1), ("call", 10, 0), ("calls", 10, 1),
    ]  # fmt: skip
    times = [event["timestamp"] for event in events]
    assert times == sorted(times)


def test_day_times_get_their_day_and_pass_midnight() -> None:
    day = 20_000 * 86_400 * 10**9
    log = "10 23:59:59.5 getpid() = 10\n10 00:00:00.5 getpid() = 10\n"
    first, second = read(log, midnight_ns=day)
    assert first["timestamp"] == day + 86_399_500_000_000
    assert second["timestamp"] - first["timestamp"] == 10**9
    assert needs_day(log.splitlines())
    assert not needs_day(["10 1795305315.1 getpid() = 10"])


def test_a_log_without_a_pid_column_names_itself() -> None:
    lines = ["1795305315.1 brk(NULL) = 0x55", "1795305315.2 set_tid_address(0x7f) = 4711"]
    assert own_pid(lines) == 4711
    assert {event["pid"] for event in read_strace(lines)} == {4711}
    assert own_pid(["1795305315.1 brk(NULL) = 0x55"]) == 0


def test_alphabet_is_told_from_the_calls() -> None:
    assert alphabet_of(["10 1.5 read(3, 1, 1) = 0"]) == "strace.full.v1"
    assert alphabet_of(['10 1.5 execve("/a", ["a"], 0) = 0', "10 1.5 exit_group(0) = ?"]) == "strace.set.v1"


def test_unreadable_lines_are_counted_kept_and_never_fatal() -> None:
    report = ReadReport()
    lines = [b"\xff\x00garbage " + str(n).encode() + b"x" * 5000 for n in range(150)] + [
        b"10 1.5 getpid() = 10"
    ]
    events = list(read_strace(lines, report=report))
    assert (len(events), report.unreadable, len(report.kept)) == (1, 150, 100)
    assert "garbage 50x" in report.kept[0]
    assert all(len(line.encode()) <= 1024 for line in report.kept)


def test_lines_that_carry_no_event_are_explained() -> None:
    report = ReadReport()
    log = """
strace: Process 11 attached
10 1795305315.1 --- SIGCHLD {si_signo=SIGCHLD, si_pid=11} ---
10 1795305315.1 --- stopped by SIGSTOP ---
[ Process PID=10 runs in 32 bit mode. ]
10 1795305315.1 ????( <unfinished ...>
10 1795305315.1 <... ???? resumed>) = ?
10 1795305315.2 restart_syscall(<... resuming interrupted poll ...>) = 0
10 1795305315.3 syscall_0x1b5(0x1, 0x2) = -1 ENOSYS (Function not implemented)
"""
    events = list(read_strace([*log.strip().splitlines(), ""], report=report))
    assert [event["syscall"] for event in events] == ["restart_syscall", "syscall_0x1b5"]
    assert report.unreadable == 0
    assert sum(report.without_event.values()) == 7


def is_wire(event: dict[str, Any]) -> bool:
    """Check one event against the table of section 2.1."""
    return (
        event["kind"] in KINDS
        and 0 <= event["pid"] <= 4_194_304
        and 0 <= event["start"] < 2**63
        and 0 <= event["timestamp"] < 2**63
        and event.get("args", {}).keys() <= ARGS
        and all(len(text.encode("utf-8", "surrogatepass")) <= 4096 for text in texts(event.get("args", {})))
        and len(event.get("args", {}).get("argv", [])) <= 64
        and len(event.get("names", "x")) <= 512
        and -(2**63) <= event.get("ret", 0) < 2**63
    )


def texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    return [text for item in value for text in texts(item)] if isinstance(value, list) else []


@given(st.lists(st.binary(max_size=200), max_size=30))
def test_random_bytes_never_raise(lines: list[bytes]) -> None:
    report = ReadReport()
    events = list(read_strace(lines, report=report))
    assert all(is_wire(event) for event in events)
    assert report.lines + report.forks_ahead == len(events) + report.unreadable + sum(
        report.without_event.values()
    )


SAMPLE = rb"""10 1795305315.1 execve("/bin/sh", ["sh", "-c", "id \"x\" \303\244"], 0x7ff /* 3 vars */) = 0
10 1795305315.2 openat(AT_FDCWD</srv<a>, "x", O_RDONLY|O_CLOEXEC) = 3</usr/x<char 1:3>> 10 1795305315.3
vfork( <unfinished ...> 11 1795305315.4 connect(3<TCP:[1->2]>, {sa_family=AF_INET, sin_port=htons(80),
sin_addr=inet_addr("1.2.3.4")}, 16) = 0 10 1795305315.5 <... vfork resumed>) = 11 11 1795305315.6
clone3({flags=CLONE_VM|CLONE_THREAD} => {parent_tid=[12]}, 88) = 12 12 1795305315.7 +++ superseded by execve
in pid 11 +++ 11 1795305315.8 chmod("/tmp/\0\377", 04755) = -1 EPERM (Operation not permitted) 11
1795305315.9 exit_group(1) = ? 11 1795305316.0 +++ killed by SIGSEGV (core dumped) +++
10 1795305316.1 --- SIGCHLD {si_signo=SIGCHLD} ---"""


@given(st.data())
@settings(max_examples=300)
def test_damaged_logs_never_raise(data: st.DataObject) -> None:
    raw = bytearray(SAMPLE)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.integers(0, 3)):
            case 0:
                raw[at] ^= 1 << data.draw(st.integers(0, 7))
            case 1:
                del raw[at : at + data.draw(st.integers(1, 40))]
            case 2:
                raw[at:at] = data.draw(st.binary(max_size=20))
            case _:
                raw[at:at] = raw[max(0, at - 30) : at] * data.draw(st.integers(1, 5))
        raw = raw or bytearray(b"x")
    assert all(
        is_wire(event) for event in read_strace(bytes(raw).split(b"\n"), fold=data.draw(st.booleans()))
    )


def test_every_cut_of_a_log_is_readable(tmp_path: Path) -> None:
    for end in range(0, len(SAMPLE), 7):
        assert all(is_wire(event) for event in read_strace(SAMPLE[:end].split(b"\n")))
    packed = gzip.compress(SAMPLE * 50)
    path = tmp_path / "cut.gz"
    for end in range(2, len(packed), 11):
        path.write_bytes(packed[:end])
        assert all(is_wire(event) for event in read_strace(open_log(path)))


def test_a_ten_mebibyte_line_costs_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(b'10 1795305315.1 write(1, "' + b"x" * (10 << 20) + b"\n10 1795305315.2 getpid() = 10\n")
    report = ReadReport()
    tracemalloc.start()
    events = list(read_strace(open_log(path), report=report))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(events), report.unreadable) == (1, 1)
    assert peak < 4 << 20


@pytest.mark.parametrize(
    "text", ["<" * 60_000, "(" * 60_000, '"\\' * 30_000, "3<->" * 15_000, "3<" * 30_000, "a=" * 30_000]
)
def test_hostile_lines_take_linear_time(text: str) -> None:
    line = f"10 1795305315.1 openat(AT_FDCWD, {text}"
    assert list(read_strace([line])) == []


def test_a_hostile_log_cannot_fill_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MAX_PROCESSES", 500)
    dice = random.Random(7)
    reader = strace_reader.StraceReader()
    reader._pending = PendingCalls(max_calls=700, max_bytes=20_000)
    for _ in range(5_000):
        reader.feed(f'{dice.randrange(1, 4_000_000)} 1795305315.1 clone("{"x" * 60}" <unfinished ...>')
    assert len(reader.processes.living()) <= 500
    assert 0 < len(reader._pending) <= 20_000 // 62
    assert len(reader._pending._born) <= 700
