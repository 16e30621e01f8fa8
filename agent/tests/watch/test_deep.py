"""Deep mode: the program we write, the text that bpftrace prints, and a real process where bpftrace works here."""

import os
import shutil
import subprocess
from collections import Counter

import pytest

from agent.tests.watch.conftest import Programs, Receiver, require_here, skip_for_this_kernel
from guard_agent.watch.bpftrace import DeepError, Traced, has_btf, make_program
from guard_agent.watch.deep_reader import DeepReader
from guard_agent.watch.deep_watch import family_of, find_cgroup

MS = 1_000_000
# As bpftrace 0.17 printed it for `sh -c "id; exit 3"` with one thread more; calls shortened.
PRINTED = """Attaching 6 probes...
T 1000000000
S 100 100 1001000000 0 0
S 100 100 1002000000 56 0
F 100 100 1002100000 101
S 100 100 1002200000 61 0
S 101 101 1002300000 59 0
E 101 101 1002400000 /usr/bin/id
S 101 101 1003000000 12 0
S 101 101 1003100000 231 0
X 101 101 1004000000 0
S 100 100 1004100000 435 0
F 100 100 1004200000 102
S 100 102 1004300000 202 0
S 100 102 1004350000 5 2
X 100 102 1004400000 0
S 100 100 1005000000 231 0
X 100 100 1005100000 768
Lost 12 events
T 2000000000

@chosen[100]: 1
"""


@pytest.fixture
def reader() -> DeepReader:
    wall = iter([5_000 * MS, 99_000 * MS])
    return DeepReader(machine="x86_64", wall_ns=lambda: next(wall), exe_of=lambda _pid: None, root=100)


def test_what_bpftrace_printed_becomes_events(reader: DeepReader) -> None:
    events = reader.feed(PRINTED.splitlines()) + reader.flush()
    told = [
        (e["kind"], e["pid"], e.get("tid"), e.get("names") or e.get("exe") or e.get("code")) for e in events
    ]
    assert told == [
        ("calls", 100, None, ["read", "wait4"]),
        ("fork", 100, None, None),
        ("exec", 101, None, "/usr/bin/id"),
        ("calls", 101, None, ["brk", "exit_group"]),
        ("exit", 101, None, 0),
        ("calls", 100, None, ["clone3"]),
        ("calls", 100, 102, ["futex", "open"]),  # number 5 of a 32-bit thread is open
        ("calls", 100, None, ["exit_group"]),
        ("exit", 100, None, 3),
    ]
    fork = events[1]
    assert (fork["syscall"], fork["child_pid"]) == ("clone", 101)
    assert fork["child_start"] == events[2]["start"] == events[4]["start"]
    assert fork["timestamp"] == 5_000 * MS + 2_100_000
    assert reader.lost == 12
    assert reader.root_ended
    assert (reader.processes.seen, reader.report.unreadable) == (2, 0)


def test_a_long_run_is_cut_at_512_names_and_at_a_second(reader: DeepReader) -> None:
    lines = ["T 1000000000", *(f"S 7 7 {1000000000 + n} 39 0" for n in range(600))]
    lines += ["S 7 7 3000000000 39 0"]
    runs = reader.feed(lines) + reader.flush()
    assert [len(run["names"]) for run in runs] == [512, 88, 1]


@pytest.mark.parametrize(
    "line",
    [
        "S",
        "S 1",
        "S a b c d e",
        "F 1 1 1",
        "X 1 1 1 x",
        "E 1 1 1",
        "T",
        "T x",
        "Lost x events",
        "\ufffd",
        "Z 1 2",
    ],
)
def test_rubbish_is_counted_and_costs_only_itself(reader: DeepReader, line: str) -> None:
    reader.feed([line, "S 7 7 1000000000 39 0"])
    assert reader.report.unreadable == 1
    assert reader.report.calls == 1


def test_a_number_without_a_name_is_named_as_a_number(reader: DeepReader) -> None:
    reader.feed(["S 7 7 1 9999 0", "S 7 7 2 -1 0"])
    assert reader.flush()[0]["names"] == ["call_9999", "call_none"]


def test_the_program_names_what_is_traced() -> None:
    by_pid = make_program(pids=[7, 3], btf=False)
    assert "@chosen[3] = 1; @chosen[7] = 1;" in by_pid
    assert "curtask" not in by_pid
    by_group = make_program(cgroup="/sys/fs/cgroup/x")
    assert 'cgroup == cgroupid("/sys/fs/cgroup/x")' in by_group
    for wrong in ({"pids": [1], "cgroup": "x"}, {}, {"cgroup": 'x"); system("id'}, {"cgroup": "a\nb"}):
        with pytest.raises(DeepError):
            make_program(**wrong)


def test_what_is_not_there_cannot_be_traced() -> None:
    with pytest.raises(DeepError, match="there is no process"):
        family_of(4_194_304)
    with pytest.raises(DeepError, match="there is no process"):
        family_of(os.getpid())
    with pytest.raises(DeepError, match="there is no control group nowhere"):
        find_cgroup("nowhere")
    assert os.getppid() in family_of(os.getppid())


@pytest.fixture
def traced_here() -> None:
    """Skip unless bpftrace traces here: missing is a failure where all must run, refused by the kernel is not."""
    require_here(shutil.which("bpftrace"), "bpftrace is not installed: `apt install bpftrace` (Debian)")
    try:
        traced = Traced(make_program(pids=[os.getpid()], btf=has_btf()))
        traced.wait_until_tracing(30)
        traced.stop()
    except DeepError as error:
        skip_for_this_kernel(str(error))


def test_every_call_of_a_running_process_is_told(
    traced_here: None, programs: Programs, receiver: Receiver
) -> None:
    """None is lost or told twice; what it starts is traced as well, and its end ends the watch."""
    assert traced_here is None
    work = "read line; /usr/bin/env id >/dev/null; i=0; while [ $i -lt 300 ]; do umask 022; i=$((i+1)); done; exit 3"
    child = subprocess.Popen(["/bin/sh", "-c", work], stdin=subprocess.PIPE)
    agent = programs.start("watch", "--deep", "--pid", str(child.pid), "--cpu-limit", "0")
    assert agent.stderr is not None
    assert "watching every system call of process" in agent.stderr.readline()
    child.communicate(b"\n", timeout=30)
    assert agent.wait(60) == 0
    events = receiver.events()
    calls = Counter(name for event in events for name in event.get("names", ()))
    assert calls["umask"] > 0
    assert calls["umask"] % 300 == 0  # how often a shell asks for its mask is its own business
    assert [event["exe"].rpartition("/")[2] for event in events if event["kind"] == "exec"][-1:] == ["id"]
    fork = next(event for event in events if event["kind"] == "fork")
    assert fork["pid"] == child.pid
    ends = [(event["pid"], event["code"]) for event in events if event["kind"] == "exit"]
    assert ends[-1] == (child.pid, 3 if has_btf() else 0)
    assert "0 lost" in agent.stderr.read()
    assert not {event["pid"] for event in events} & {agent.pid}
