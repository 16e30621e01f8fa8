"""Damaged logs with good calls in them; `tools/fuzz_agent.py` does the same for as long as told."""

import os
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.tests.watch.mangled_logs import FORMATS, check_event, check_log, damaged_log
from guard_agent.watch.audit_log import AuditReader
from guard_agent.watch.audit_records import Assembler
from guard_agent.watch.read_report import ReadReport
from guard_agent.watch.recorded_log import find_logs
from guard_agent.watch.strace import read_strace
from guard_agent.watch.strace_reader import StraceReader

MEMORY = 64 * 1024 * 1024


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("seed", range(4))
def test_good_calls_come_out_whole_between_damaged_lines(name: str, seed: int) -> None:
    check_log(FORMATS[name], damaged_log(random.Random(seed), FORMATS[name], 60), 60)


@given(st.lists(st.binary(max_size=200), max_size=30))
@settings(max_examples=40, deadline=None)
def test_noise_is_counted_line_by_line(lines: list[bytes]) -> None:
    for form in FORMATS.values():
        check_log(form, lines, 0)


@given(
    st.lists(
        st.tuples(st.one_of(st.integers(0, 3000), st.text(max_size=12)), st.text(max_size=120), st.integers())
    )
)
@settings(max_examples=40, deadline=None)
def test_an_assembler_takes_any_record_at_any_time(records: list[tuple[int | str, str, int]]) -> None:
    assembler = Assembler()
    for kind, text, at in records:
        for event in assembler.feed(kind, text, at) + assembler.feed(kind, f"audit(1.2:3): {text}", at):
            check_event(event)
        assembler.flush(at)
    for event in assembler.finish():
        check_event(event)


@given(st.integers(0, 2**64), st.integers(0, 600), st.integers(-600, 600), st.binary(max_size=140))
@settings(max_examples=150, deadline=None)
def test_any_numbers_in_a_call_make_an_event(value: int, number: int, result: int, address: bytes) -> None:
    for arch in ("c000003e", "40000003", "c00000b7"):
        assembler = Assembler()
        text = f"arch={arch} syscall={number} success={'no' if result < 0 else 'yes'} exit={result}"
        registers = " ".join(f"a{at}={value >> (at * 7) & (2**64 - 1):x}" for at in range(4))
        assembler.feed(1300, f"audit(1.2:3): {text} {registers} items=0 ppid=1 pid=2 exe=2F", 0)
        assembler.feed(1306, f"audit(1.2:3): saddr={address.hex()}", 0)
        assembler.feed(1302, "audit(1.2:3): item=0 name=2F612062 nametype=CREATE", 0)
        for event in assembler.feed(1320, "audit(1.2:3):", 0):
            check_event(event)


def test_the_strings_that_broke_a_reader_are_read() -> None:
    """Found by `tools/fuzz_agent.py`: numbers and names without end, a child beyond the last pid."""
    for line in (
        f"1 1.5 dup2({'9' * 5000}, 1) = 0",
        f'1 1.5 bind(3, {{sa_family=AF_INET, sin_port=htons({"9" * 5000}), sin_addr=inet_addr("1.2.3.4")}}, 16) = 0',
        "1 1.5 fork() = 4194305",
        f"1 1.5 unshare({'A' * 9000}) = 0",
        f"1 1.5 socket(AF_{'A' * 9000}, 1, 0) = 3",
        f'1 1.5 openat(5</{"a" * 4000}>, "{"b" * 4000}", O_RDONLY) = -1 ENOENT (No such file)',
        f'1 1.5 unlink("{chr(92)}377{(chr(92) + "377") * 4000}") = 0',
    ):
        (event,) = StraceReader().feed(line)
        check_event(event)
    own = read_strace(["1.5 getpid() = 9999999", '1.6 chdir("/") = 0'])
    assert [event["pid"] for event in own] == [0, 0]


MEASURED = """
import sys
from agent.tests.watch import mangled_logs as logs
def most():
    words = [line.split() for line in open("/proc/self/status") if line.startswith("VmHWM:")]
    return int(words[0][1]) // 1024
before = most()
for event in getattr(logs, sys.argv[1])():
    pass
print(most() - before)
"""


@pytest.mark.parametrize("name", ["read_hostile_audit", "read_hostile_strace"])
def test_memory_stays_bounded_whatever_a_log_says(name: str) -> None:
    """Measured in a process of its own: the most that it ever held."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, name],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    assert int(done.stdout) < 64


def test_long_lines_are_not_held(tmp_path: Path) -> None:
    for name, begin in (("a.strace", b'7 1.5 chdir("'), ("audit.log", b"type=PATH msg=audit(1.2:3): name=")):
        file = tmp_path / name
        with file.open("wb") as out:
            for _ in range(5):
                out.write(begin + b"41" * 5_000_000 + b"\n")
        tracemalloc.start()
        try:
            (log,) = find_logs([file])
            report = ReadReport()
            log.alphabet()
            log.needs_day()
            assert list(log.events(fold=True, midnight_ns=0, report=report)) == []
            assert tracemalloc.get_traced_memory()[1] < MEMORY
        finally:
            tracemalloc.stop()
        assert report.lines == 5


def test_a_reader_fed_by_hand_cuts_what_is_too_long() -> None:
    reader = AuditReader()
    assert reader.feed(b"type=PATH msg=audit(1.2:3): name=" + b"41" * 5_000_000) == []
    assert reader.finish() == []
