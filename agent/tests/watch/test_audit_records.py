import pytest

from agent.tests.watch.audit_lines import CWD, PEER, Desk, call, identity, path
from guard_agent.watch.audit_text import decode, read_fields
from guard_agent.watch.pending_records import MAX_PENDING, WAIT_NS


@pytest.fixture
def desk() -> Desk:
    return Desk()


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
