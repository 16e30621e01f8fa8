import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from guard_agent.watch.audit_calls import call_name, call_table, constant_group
from guard_agent.watch.audit_records import Assembler
from guard_agent.watch.audit_text import decode, read_fields
from guard_agent.watch.pending_records import MAX_PENDING, WAIT_NS
from guard_agent.watch.read_report import ReadReport
from guard_agent.watch.strace_reader import StraceReader

X86, I386, ARM = "c000003e", "40000003", "c00000b7"
Record = tuple[str, str]


def registers(*values: int) -> str:
    filled = (*values, 0, 0, 0, 0)[:4]
    return " ".join(f"a{at}={value & (2**64 - 1):x}" for at, value in enumerate(filled))


def call(
    number: int,
    *values: int,
    arch: str = X86,
    result: str = "success=yes exit=0",
    pid: int = 20,
    ppid: int = 10,
    exe: str = '"/usr/bin/python3"',
) -> Record:
    """The SYSCALL record of one call."""
    return (
        "SYSCALL",
        f"arch={arch} syscall={number} {result} {registers(*values)} items=1 ppid={ppid} pid={pid} auid=1000"
        f' uid=0 gid=0 euid=0 tty=pts0 ses=1 comm="x" exe={exe} key="guardhouse"',
    )


class Desk:
    """Feeds calls to one assembler, each with its own serial and an end."""

    def __init__(self, **options: Any) -> None:
        self.assembler = Assembler(**options)
        self.serial = 100

    def feed(self, *records: Record, end: bool = True, at: int = 0) -> list[dict[str, Any]]:
        self.serial += 1
        head = f"audit(1700000000.{self.serial % 1000:03d}:{self.serial}): "
        events = []
        for kind, text in (*records, *([("EOE", "")] if end else [])):
            events += self.assembler.feed(kind, head + text, at)
        return events

    def one(self, *records: Record) -> dict[str, Any]:
        (event,) = self.feed(*records)
        return event


@pytest.fixture
def desk() -> Desk:
    return Desk()


def path(item: int, name: str, kind: str = "NORMAL") -> Record:
    return "PATH", f'item={item} name="{name}" inode=5 dev=fe:00 mode=0100644 nametype={kind}'


def sockaddr(text: str) -> Record:
    return "SOCKADDR", f"saddr={text}"


CWD: Record = ("CWD", 'cwd="/srv"')
PEER = sockaddr("0200115CCB0071090000000000000000")


def identity(report: ReadReport) -> bool:
    return report.lines == report.events + report.unreadable + sum(report.without_event.values())


# -- texts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('"/bin/sh"', "/bin/sh"),
        ("2F62696E2F61206200", "/bin/a b\0"),
        ("C3A9FF", "é\ufffd"),
        ("ABC", "ABC"),
        ("(null)", None),
        ("?", None),
        ('""', ""),
        (None, None),
    ],
)
def test_fields_are_decoded(written: str | None, meant: str | None) -> None:
    assert decode(written) == meant


def test_the_first_field_of_a_name_counts_and_what_auditd_added_does_not() -> None:
    fields = read_fields('pid=4 comm="a" pid=5\x1dUID="root" ARCH=x86_64')
    assert fields == {"pid": "4", "comm": '"a"'}


def test_a_long_field_costs_no_more_than_its_length() -> None:
    for text in ("a" * 65_000, 'a="' * 20_000, "=" * 65_000, "a-" * 32_000, "a='" * 20_000):
        assert isinstance(read_fields(text), dict)


# -- assembly ---------------------------------------------------------------------------------------------


def test_an_exec_is_rebuilt_from_its_records(desk: Desk) -> None:
    event = desk.one(
        call(59, exe='"/usr/bin/dash"'),
        ("EXECVE", 'argc=3 a0="sh" a1="-c" a2=6964203E2078'),
        CWD,
        path(0, "./run.sh"),
        path(1, "/lib64/ld-linux-x86-64.so.2"),
        ("PROCTITLE", "proctitle=73682D63"),
    )
    assert event == {
        "kind": "exec",
        "timestamp": 1700000000_101000000,
        "pid": 20,
        "start": 1700000000_101000000,
        "ppid": 10,
        "exe": "/usr/bin/dash",
        "syscall": "execve",
        "args": {"path": "./run.sh", "path2": "/srv/run.sh", "argv": ["sh", "-c", "id > x"]},
        "ret": 0,
    }


def test_arguments_in_pieces_and_over_several_records_are_joined(desk: Desk) -> None:
    long = "x" * 3000
    event = desk.one(
        call(59),
        ("EXECVE", 'argc=4 a0="echo" '),
        ("EXECVE", f"a1_len=6000 a1[0]={long[:1000].encode().hex()} "),
        ("EXECVE", f'a1[1]={long[1000:].encode().hex()} a2="b"'),
        ("EXECVE", "a3=(null)"),
    )
    assert event["args"]["argv"] == ["echo", long, "b", "(null)"]


def test_an_argv_is_cut_to_what_the_wire_takes(desk: Desk) -> None:
    event = desk.one(call(59), ("EXECVE", "argc=90 " + " ".join(f'a{n}="{n}"' for n in range(90))))
    assert event["args"]["argv"] == [str(n) for n in range(64)]
    event = desk.one(call(59), ("EXECVE", f'argc=2 a0="{"y" * 5000}" a1="z"'))
    assert len(event["args"]["argv"][0].encode()) <= 4096


def test_calls_that_come_mixed_are_told_apart(desk: Desk) -> None:
    assembler = desk.assembler
    for serial, number in ((1, 42), (2, 59)):
        assembler.feed("SYSCALL", f"audit(5.0:{serial}): {call(number)[1]}", 0)
    assembler.feed("PATH", f"audit(5.0:2): {path(0, '/bin/id')[1]}", 0)
    assembler.feed("SOCKADDR", f"audit(5.0:1): {PEER[1]}", 0)
    (second,) = assembler.feed("EOE", "audit(5.0:2): ", 0)
    (first,) = assembler.feed("EOE", "audit(5.0:1):", 0)
    assert second["args"]["path"] == "/bin/id"
    assert first["args"]["addr"] == {"family": "inet", "ip": "203.0.113.9", "port": 4444}
    assert identity(assembler.report)


def test_numbers_and_names_of_types_are_the_same(desk: Desk) -> None:
    assert desk.assembler.feed(1300, f"audit(5.0:1): {call(105)[1]}", 0) == []
    assert desk.assembler.feed("UNKNOWN[1320]", "audit(5.0:1):", 0)[0]["syscall"] == "setuid"


def test_without_an_end_a_call_waits_two_seconds(desk: Desk) -> None:
    assert desk.feed(call(105), end=False) == []
    assert desk.assembler.flush(WAIT_NS - 1) == []
    (event,) = desk.assembler.flush(WAIT_NS)
    assert event["syscall"] == "setuid"
    desk.feed(call(105), end=False, at=WAIT_NS)
    (event,) = desk.feed(call(106), end=False, at=2 * WAIT_NS)
    assert event["syscall"] == "setuid"
    assert [event["syscall"] for event in desk.assembler.finish()] == ["setgid"]


def test_an_end_before_its_call_is_no_end(desk: Desk) -> None:
    assembler = desk.assembler
    assembler.feed("PATH", f"audit(5.0:1): {path(0, '/bin/id')[1]}", 0)
    assert assembler.feed("EOE", "audit(5.0:1):", 0) == []
    assembler.feed("SYSCALL", f"audit(5.0:1): {call(59)[1]}", 0)
    (event,) = assembler.finish()
    assert event["args"] == {"path": "/bin/id"}
    assert identity(assembler.report)


def test_what_changes_our_rules_and_what_we_do_is_no_event() -> None:
    desk = Desk(own_pids=[77])
    assert desk.feed(call(44), ("CONFIG_CHANGE", 'op=add_rule key="guardhouse" list=4 res=1')) == []
    assert desk.feed(call(59, pid=77)) == []
    assert desk.assembler.report.without_event["our own"] == 2
    assert len(desk.feed(call(44), ("CONFIG_CHANGE", 'op=remove_rule key="pam" list=4 res=1'))) == 1
    assert identity(desk.assembler.report)


def test_records_of_user_space_are_counted(desk: Desk) -> None:
    for kind in ("USER_LOGIN", "LOGIN", "SERVICE_START", "CRYPTO_SESSION", "DAEMON_START", 1112):
        assert desk.assembler.feed(kind, "audit(5.0:1): pid=1 uid=0 msg='op=login acct=\"root\"'", 0) == []
    assert desk.assembler.report.without_event == {"record of user space": 6}
    desk.assembler.feed("AVC", "audit(5.0:1): avc: denied", 0)
    desk.assembler.feed("CONFIG_CHANGE", "audit(5.0:2): op=set audit_enabled=1", 0)
    assert desk.assembler.finish() == []
    assert desk.assembler.report.unreadable == 0


def test_a_broken_record_costs_only_itself(desk: Desk) -> None:
    event = desk.one(call(42, 3), ("SOCKADDR", "saddr=02zz"), ("PATH", "item=x name"), ("CWD", "\0\xff"))
    assert (event["syscall"], event["args"]) == ("connect", {"fd": 3})
    report = desk.assembler.report
    for kind, text in (("SYSCALL", "no head"), ("PATH", "audit(1.2): "), ("EOE", "audit(99999999999.0:1): ")):
        assert desk.assembler.feed(kind, text, 0) == []
    for broken in ("pid=-5", "pid=4194305", "pid=x", "pid=99999999999999999999999", ""):
        assert desk.feed(("SYSCALL", f"arch=c000003e syscall=59 {broken}")) == []
    assert (report.unreadable, len(report.kept)) == (8, 8)
    assert identity(report)


def test_what_waits_is_bounded(desk: Desk) -> None:
    assembler = desk.assembler
    events = []
    for serial in range(MAX_PENDING + 50):
        events += assembler.feed("SYSCALL", f"audit(5.0:{serial}): {call(105)[1]}", 0)
    assert (len(events), assembler.waiting) == (50, MAX_PENDING)
    for n in range(2000):
        assembler.feed("EXECVE", f"audit(5.0:3000000): a{n}=" + "41" * 30_000, 0)
    assert assembler.report.without_event["more of a call than is kept"] > 1900
    assert len(assembler.finish()) == MAX_PENDING - 1  # the long one took a place
    assert identity(assembler.report)
    assert assembler.feed("SYSCALL", b"audit(5.0:1): " + b"\xff" * 10_000_000, 0) == []


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
    ("listen(3, 128) = 0", [call(50, 3, 128)]),
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
     [call(2, 1, 0o1101, 0o666, result="success=yes exit=3"), path(0, "/srv/tmp/", "PARENT"), path(1, "/srv/tmp/n", "CREATE")]),
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


# -- processes --------------------------------------------------------------------------------------------


def test_a_fork_names_its_child(desk: Desk) -> None:
    fork = desk.one(call(57, result="success=yes exit=21"))
    assert (fork["kind"], fork["child_pid"], fork["child_start"]) == ("fork", 21, fork["timestamp"])
    child = desk.one(call(105, pid=21, ppid=20))
    assert (child["start"], child["ppid"]) == (fork["child_start"], 20)
    assert "exe" not in child
    clone = desk.one(call(56, 0x01200011, result="success=yes exit=22"))
    assert (clone["kind"], clone["args"]["flags"][-1]) == ("fork", "SIGCHLD")


def test_a_child_that_speaks_before_its_parents_fork_returns_is_one(desk: Desk) -> None:
    child = desk.one(call(59, pid=21, ppid=20, exe='"/bin/id"'))
    fork = desk.one(call(58, result="success=yes exit=21"))
    assert (child["ppid"], fork["child_start"]) == (20, child["start"])
    assert desk.one(call(105, pid=21, ppid=20, exe='"/bin/id"'))["start"] == child["start"]


def test_a_thread_is_no_child_and_a_clone3_does_not_say(desk: Desk) -> None:
    thread = desk.one(call(56, 0x3D0F00, result="success=yes exit=21"))
    assert (thread["kind"], "CLONE_THREAD" in thread["args"]["flags"]) == ("call", True)
    assert desk.one(call(435, result="success=yes exit=22"))["kind"] == "call"


def test_an_exit_is_told_once_and_the_next_owner_of_its_pid_is_new(desk: Desk) -> None:
    first = desk.one(call(105))
    ended = desk.one(call(231, 0x103, result=""))
    assert (ended["kind"], ended["code"], ended["start"]) == ("exit", 3, first["start"])
    late = desk.one(call(35, result="success=no exit=-516"))
    assert late["start"] == first["start"]
    assert desk.feed(call(231, 3, result="")) == []
    reused = desk.one(call(59, ppid=11, exe='"/bin/id"'))
    assert reused["start"] > first["start"]
    assert identity(desk.assembler.report)


def test_a_pid_whose_parent_and_program_changed_is_another_process(desk: Desk) -> None:
    first = desk.one(call(105, exe='"/bin/a"'))
    assert desk.one(call(105, ppid=1, exe='"/bin/a"'))["start"] == first["start"]
    other = desk.one(call(105, ppid=99, exe='"/bin/b"'))
    assert (other["start"] > first["start"], other["exe"], other["ppid"]) == (True, "/bin/b", 99)


def test_a_program_is_told_once_and_again_when_it_changes(desk: Desk) -> None:
    told = [
        desk.one(call(105)).get("exe"),
        desk.one(call(105)).get("exe"),
        desk.one(call(105, exe="2F7573722F62696E2F707974686F6E33202864656C6574656429")).get("exe"),
        desk.one(call(59, exe="2F6D656D66643A78202864656C6574656429")).get("exe"),
        desk.one(call(105, exe="2F6D656D66643A78202864656C6574656429")).get("exe"),
    ]
    assert told == ["/usr/bin/python3", None, None, "/memfd:x (deleted)", None]


def test_a_failed_exec_is_a_call_of_the_old_program(desk: Desk) -> None:
    event = desk.one(call(59, result="success=no exit=-13"), path(0, "/root/x"))
    assert (event["kind"], event["exe"], event["errno"]) == ("call", "/usr/bin/python3", "EACCES")


def test_calls_without_arguments_are_folded_where_asked() -> None:
    desk = Desk(fold=True)
    for number in (39, 110, 39):
        assert desk.feed(call(number)) == []
    calls, setuid = desk.feed(call(105))
    assert (calls["kind"], calls["names"]) == ("calls", ["getpid", "getppid", "getpid"])
    assert setuid["syscall"] == "setuid"


def test_starts_come_from_who_knows_them() -> None:
    desk = Desk(start_of=lambda pid, _ns: pid * 1000)
    assert desk.one(call(105))["start"] == 20_000
    assert desk.one(call(57, result="success=yes exit=21"))["child_start"] == 21_000
