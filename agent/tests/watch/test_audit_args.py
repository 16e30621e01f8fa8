import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from agent.tests.watch.audit_lines import ARM, CWD, I386, PEER, X86, Desk, Record, call, path, sockaddr
from guard_agent.watch.audit_calls import call_name, call_table, constant_group
from guard_agent.watch.strace_reader import StraceReader


@pytest.fixture
def desk() -> Desk:
    return Desk()


# -- arguments: the same words as strace's ----------------------------------------------------------------

SAME = [
    ('connect(3, {sa_family=AF_INET, sin_port=htons(4444), sin_addr=inet_addr("203.0.113.9")}, 16) = 0',
     [call(42, 3, 1, 16), PEER]),
    ('connect(3, {sa_family=AF_UNIX, sun_path="/run/x"}, 110) = -1 ENOENT (No such file)',
     [call(42, 3, result="success=no exit=-2"), sockaddr("01002F72756E2F780000"), path(0, "/run/x", "UNKNOWN")]),
    ('connect(3, {sa_family=AF_UNIX, sun_path=@"x/y"}, 6) = 0', [call(42, 3), sockaddr("010000782F79")]),
    ('bind(3, {sa_family=AF_INET6, sin6_port=htons(80), inet_pton(AF_INET6, "::1", &sin6_addr)}, 28) = 0',
     [call(49, 3), sockaddr("0A00005000000000" + "00" * 15 + "01" + "00000000")]),
    ("socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP) = 3",
     [call(41, 2, 1 | 0o2000000, 6, result="success=yes exit=3")]),
    ("listen(3<socket:[5]>, 128) = 0", [call(50, 3, 128)]),
    ('accept4(3, {sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("127.0.0.1")}, [16], SOCK_CLOEXEC) = 4',
     [call(288, 3, 1, 1, 0o2000000, result="success=yes exit=4"), sockaddr("020000097F000001" + "00" * 8)]),
    ("dup2(4, 0) = 0", [call(33, 4, 0)]),
    ("dup3(4, 1, O_CLOEXEC) = 1", [call(292, 4, 1, 0o2000000, result="success=yes exit=1")]),
    ("setuid(0) = 0", [call(105, 0)]),
    ("setresuid(-1, 1000, -1) = 0", [call(117, 0xFFFFFFFF, 1000, 2**64 - 1)]),
    ("setreuid(65534, 65534) = -1 EPERM (Operation not permitted)",
     [call(113, 65534, 65534, result="success=no exit=-1")]),
    ("setgid(33) = 0", [call(106, 33)]),
    ('chmod("/srv/tmp/x", 04755) = 0', [call(90, 1, 0o4755), path(0, "/srv/tmp/x")]),
    ('chmod("/srv/tmp/x", S_IFREG|0744) = 0', [call(90, 1, 0o100744), path(0, "/srv/tmp/x")]),
    ("fchmod(5, 0600) = 0", [call(91, 5, 0o600)]),
    ('fchmodat(AT_FDCWD, "/srv/tmp/x", 06755) = 0', [call(268, 0xFFFFFF9C, 1, 0o6755), path(0, "/srv/tmp/x")]),
    ('openat(AT_FDCWD, "/etc/shadow", O_RDONLY|O_CLOEXEC) = 3',
     [call(257, -100, 1, 0o2000000, 0o777, result="success=yes exit=3"), path(0, "/etc/shadow")]),
    ('open("/srv/tmp/n", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3',
     [call(2, 1, 0o1101, 0o666, result="success=yes exit=3"), path(0, "/srv/tmp/", "PARENT"),
      path(1, "/srv/tmp/n", "CREATE")]),
    ('openat(AT_FDCWD, "/no", O_RDWR) = -1 EACCES (Permission denied)',
     [call(257, -100, 1, 2, result="success=no exit=-13"), path(0, "/no", "UNKNOWN")]),
    ('unlinkat(AT_FDCWD, "/d", AT_REMOVEDIR) = 0',
     [call(263, -100, 1, 0x200), path(0, "/", "PARENT"), path(1, "/d", "DELETE")]),
    ('rename("/a", "/b") = 0',
     [call(82), path(0, "/", "PARENT"), path(1, "/", "PARENT"), path(2, "/a", "DELETE"), path(3, "/b", "CREATE")]),
    ('rename("/a", "/b") = 0',
     [call(82), path(0, "/", "PARENT"), path(1, "/", "PARENT"), path(2, "/a", "DELETE"), path(3, "/b", "DELETE"),
      path(4, "/b", "CREATE")]),
    ('renameat2(AT_FDCWD, "/a", AT_FDCWD, "/b", 0) = 0',
     [call(316, -100, 1, -100, 2), path(0, "/", "PARENT"), path(1, "/", "PARENT"), path(2, "/a", "DELETE"),
      path(3, "/b", "CREATE")]),
    ('linkat(AT_FDCWD, "/a", AT_FDCWD, "/b", 0) = 0',
     [call(265, -100, 1, -100, 2), path(0, "/a"), path(1, "/", "PARENT"), path(2, "/b", "CREATE")]),
    ('symlink("../t", "/l") = 0',
     [call(88), path(0, "../t", "UNKNOWN"), path(1, "/", "PARENT"), path(2, "/l", "CREATE")]),
    ("ptrace(PTRACE_ATTACH, 4321) = 0", [call(101, 16, 4321)]),
    ("ptrace(PTRACE_POKEUSER, 4321, 0, 0) = 0", [call(101, 6, 4321)]),
    ("ptrace(PTRACE_SEIZE, 7, NULL, 0) = 0", [call(101, 0x4206, 7)]),
    ("process_vm_writev(4321, 0x7, 1, 0x8, 1, 0) = 8", [call(311, 4321, 7, 1, 8, result="success=yes exit=8")]),
    ("kill(-5, SIGTERM) = 0", [call(62, -5, 15)]),
    ("prctl(PR_GET_DUMPABLE) = 0", [call(157, 3, 0)]),
    ("personality(ADDR_NO_RANDOMIZE) = 0", [call(135, 0x40000)]),
    ("personality(0xffffffff) = 0", [call(135, 0xFFFFFFFF)]),
    ("unshare(CLONE_NEWNS|CLONE_NEWUSER) = 0", [call(272, 0x10020000)]),
    ("setns(3, CLONE_NEWNET) = 0", [call(308, 3, 0x40000000)]),
    ('pivot_root("/n", "/n/o") = 0', [call(155), path(0, "/n"), path(1, "/n/o")]),
    ('umount2("/m", 0) = 0', [call(166), path(0, "/m")]),
    ("bpf(BPF_PROG_LOAD, {prog_type=1}, 128) = 5", [call(321, 5, result="success=yes exit=5")]),
    ('delete_module("x", O_NONBLOCK) = 0', [call(176, 1, 0o4000), ("KERN_MODULE", 'name="x"')]),
    ("mprotect(0x7, 4096, PROT_READ|PROT_WRITE|PROT_EXEC) = 0", [call(10, 7, 4096, 7)]),
    ("mprotect(0x7, 4096, PROT_READ) = 0", [call(10, 7, 4096, 1)]),
    ('truncate("/var/log/x", 0) = 0', [call(76, 1, 0), path(0, "/var/log/x")]),
    ('fchownat(AT_FDCWD, "/f", 0, -1, 0) = 0', [call(260, -100, 1, 0, 0xFFFFFFFF), path(0, "/f")]),
    ('mknodat(AT_FDCWD, "/f", S_IFCHR|0666, makedev(0x1, 0x3)) = 0',
     [call(259, -100, 1, 0o20666), path(0, "/", "PARENT"), path(1, "/f", "CREATE")]),
    ("getpid() = 20", [call(39, result="success=yes exit=20")]),
    ("pause() = ? ERESTARTNOHAND (To be restarted)", [call(34, result="success=no exit=-514")]),
    ("brk(NULL) = 0x55f0a0000000", [call(12, result="success=yes exit=94489280512000")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "records"), SAME, ids=[f"{at}-{line.partition('(')[0]}" for at, (line, _) in enumerate(SAME)]
)
def test_a_call_reads_the_same_as_from_strace(line: str, records: list[Record]) -> None:
    (expected,) = StraceReader().feed(f"20 1700000000.5 {line}")
    told = Desk().one(*records)
    for event in (expected, told):
        for key in ("timestamp", "start", "ppid", "exe"):
            event.pop(key, None)
        if event["syscall"] in (
            "connect",
            "bind",
            "accept4",
        ):  # known from the address; strace asks the kernel
            event.get("args", {}).pop("fd_kind", None)
        if "flags" in event.get("args", {}):
            event["args"]["flags"].sort()
    assert told == expected


def test_a_mount_says_where_and_how(desk: Desk) -> None:
    event = desk.one(call(165, 1, 2, 3, 0x1000), path(0, "/mnt"), path(1, "/data"))
    assert event["args"] == {"path": "/data", "path2": "/mnt", "flags": ["MS_BIND"]}


def test_relative_paths_lead_from_where_the_call_began(desk: Desk) -> None:
    event = desk.one(call(257, -100, 1, 0, result="success=yes exit=3"), CWD, path(0, "../etc/shadow"))
    assert (event["args"]["path"], event["args"]["path2"]) == ("../etc/shadow", "/etc/shadow")
    event = desk.one(call(257, 7, 1, 0, result="success=yes exit=3"), CWD, path(0, "shadow"))
    assert event["args"] == {"fd": 7, "path": "shadow", "flags": ["O_RDONLY"]}
    desk.one(call(257, -100, 1, 0o200000, result="success=yes exit=7"), path(0, "/etc"))
    event = desk.one(call(257, 7, 1, 0, result="success=yes exit=3"), CWD, path(0, "shadow"))
    assert event["args"]["path2"] == "/etc/shadow"


def test_an_openat2_has_its_flags_in_a_record_of_its_own(desk: Desk) -> None:
    event = desk.one(
        call(437, -100, 1, 2, 24, result="success=yes exit=3"),
        ("OPENAT2", "oflag=0101102 mode=0600 resolve=0x0"),
        path(0, "/etc", "PARENT"),
        path(1, "/etc/x", "CREATE"),
    )
    assert event["args"]["path"] == "/etc/x"
    assert event["args"]["mode"] == 0o600
    assert event["args"]["flags"] == ["O_RDWR", "O_CREAT", "O_TRUNC", "O_LARGEFILE"]


def test_a_target_is_told_as_the_kernel_numbers_it(desk: Desk) -> None:
    event = desk.one(call(101, 16, 12), ("OBJ_PID", 'opid=4321 oauid=-1 ouid=0 oses=-1 ocomm="x"'))
    assert event["args"]["target_pid"] == 4321


# -- other machines ---------------------------------------------------------------------------------------


def test_calls_of_i386_are_named_and_read_as_its_own(desk: Desk) -> None:
    event = desk.one(call(102, 3, 0xFFA0, arch=I386), ("SOCKETCALL", "nargs=3 a0=5 a1=ffa1 a2=10"), PEER)
    assert (event["syscall"], event["args"]["fd"]) == ("connect", 5)
    assert event["args"]["addr"]["port"] == 4444
    event = desk.one(call(213, 1000, arch=I386))
    assert (event["syscall"], event["args"]) == ("setuid32", {"uid": 1000})
    assert desk.one(call(23, 0x2FFFF, arch=I386)).get("args") is None
    assert desk.one(call(11, arch=I386))["kind"] == "exec"


def test_flags_of_aarch64_have_other_bits(desk: Desk) -> None:
    event = desk.one(call(56, -100, 1, 0o40000, arch=ARM, result="success=yes exit=3"), path(0, "/etc"))
    assert (event["syscall"], event["args"]["flags"]) == ("openat", ["O_RDONLY", "O_DIRECTORY"])
    event = desk.one(call(257, -100, 1, 0o200000, result="success=yes exit=3"), path(0, "/etc"))
    assert event["args"]["flags"] == ["O_RDONLY", "O_DIRECTORY"]


def test_a_call_of_an_unknown_machine_is_named_by_number_or_as_auditd_did(desk: Desk) -> None:
    assert desk.one(call(5, arch="80000016"))["syscall"] == "syscall_5"
    kind, text = call(5, arch="80000016")
    assert desk.one((kind, text + "\x1dARCH=s390x SYSCALL=open AUID=root"))["syscall"] == "open"


def test_the_tables_agree_with_this_machine_and_its_neighbours() -> None:
    assert [
        call_name(arch, number) for arch, number in ((X86, 59), (I386, 11), (ARM, 221), (X86, 0x40000208))
    ] == ["execve"] * 4
    assert call_name("c000003e", 452) == "fchmodat2"
    assert constant_group("ptrace", "aarch64").get(13) is None
    assert constant_group("ptrace", "x86_64")[13] == "PTRACE_SETREGS"
    headers = Path("/usr/include/x86_64-linux-gnu/asm")
    for name, abi in (("unistd_64.h", "x86_64"), ("unistd_32.h", "i386")):
        if not (headers / name).exists():
            pytest.skip(f"SKIPPED: no {headers / name} on this machine to compare the call tables with")
        found = re.findall(r"#define __NR_(\w+) (\d+)\n", (headers / name).read_text())
        assert found
        assert [row for row in found if call_table(abi).get(int(row[1])) != row[0]] == []


# -- descriptors ------------------------------------------------------------------------------------------


def kinds(events: Iterable[dict[str, Any]]) -> list[Any]:
    return [event.get("args", {}).get("fd_kind") for event in events]


def test_a_socket_is_followed_onto_the_standard_streams(desk: Desk) -> None:
    events = [
        desk.one(call(41, 2, 1, result="success=yes exit=3")),
        desk.one(call(42, 3, result="success=no exit=-115"), PEER),
        *[desk.one(call(33, 3, fd, result=f"success=yes exit={fd}")) for fd in (0, 1, 2)],
        desk.one(call(59, exe='"/usr/bin/dash"')),
        desk.one(call(33, 0, 5, result="success=yes exit=5", exe='"/usr/bin/dash"')),
    ]
    assert kinds(events) == ["inet", "inet", "inet", "inet", "inet", None, "inet"]
    assert "exe" not in events[-1]


def test_a_descriptor_that_an_exec_closes_is_forgotten(desk: Desk) -> None:
    desk.one(call(41, 2, 1 | 0o2000000, result="success=yes exit=3"))
    desk.one(call(292, 3, 9, 0o2000000, result="success=yes exit=9"))
    desk.one(call(33, 3, 1, result="success=yes exit=1"))
    desk.one(call(59))
    again = [desk.one(call(33, fd, 20, result="success=yes exit=20")) for fd in (3, 9, 1)]
    assert kinds(again) == [None, None, "inet"]


def test_accepted_paired_and_unnamed_descriptors_have_a_kind(desk: Desk) -> None:
    desk.one(
        call(288, 3, result="success=yes exit=4"), sockaddr("0A00005000000000" + "00" * 15 + "0100000000")
    )
    desk.one(call(293), ("FD_PAIR", "fd0=5 fd1=6"))
    desk.one(call(53, 1, 1), ("FD_PAIR", "fd0=7 fd1=8"))
    desk.one(call(319, 1, 1, result="success=yes exit=9"))
    desk.one(call(257, -100, 1, 1, result="success=yes exit=10"), path(0, "/srv/tmp/x"))
    copies = [desk.one(call(33, fd, 20, result="success=yes exit=20")) for fd in (4, 5, 6, 8, 9, 10, 11)]
    assert kinds(copies) == ["inet6", "pipe", "pipe", "unix", "memfd", "file", None]
    assert desk.one(call(91, 10, 0o6755))["args"] == {
        "fd": 10, "fd_kind": "file", "path": "/srv/tmp/x", "mode": 0o6755,
    }  # fmt: skip


def test_a_closed_descriptor_and_one_used_anew_are_not_mistaken(desk: Desk) -> None:
    for fd in (3, 4):
        desk.one(call(41, 2, 1, result=f"success=yes exit={fd}"))
    desk.one(call(3, 3))
    desk.one(call(33, 30, 4, result="success=yes exit=4"))
    again = [desk.one(call(33, fd, 20, result="success=yes exit=20")) for fd in (3, 4)]
    assert kinds(again) == [None, None]


def test_a_child_has_its_parents_descriptors(desk: Desk) -> None:
    desk.one(call(41, 2, 1, result="success=yes exit=3"))
    assert desk.one(call(33, 3, 0, pid=21, ppid=20))["args"]["fd_kind"] == "inet"
    desk.one(call(57, result="success=yes exit=22"))
    assert desk.one(call(33, 3, 0, pid=22, ppid=20))["args"]["fd_kind"] == "inet"


def test_who_listens_on_a_socket_nobody_saw_made_is_no_server_yet(desk: Desk) -> None:
    assert desk.one(call(50, 3, 128))["args"] == {"fd": 3, "fd_kind": "socket"}
    desk.one(call(49, 4), sockaddr("01002F72756E2F780000"))
    desk.one(call(49, 5), PEER)
    assert kinds([desk.one(call(50, fd, 128)) for fd in (4, 5)]) == ["unix", "inet"]


def test_the_mode_of_a_directory_without_a_name_is_told_without_its_group_bit(desk: Desk) -> None:
    nameless = "item=0 name=(null) inode=5 dev=fe:00 mode={} nametype=NORMAL"
    told = [
        desk.one(call(91, 5, 0o2755), ("PATH", nameless.format(mode)))["args"]["mode"]
        for mode in ("040755", "0100755")
    ]
    assert told == [0o755, 0o2755]
