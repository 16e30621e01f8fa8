"""The audit system of this machine: settings, rules, records. Skipped where the kernel does not let us."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from guard_agent.watch.audit_netlink import AuditControl, AuditError, AuditReader, Record
from guard_agent.watch.audit_rule import ARCH, KEY, PID, Field, Rule, pack_rule, unpack_rule
from guard_agent.watch.audit_set import Abi, machine_abis
from guard_agent.watch.serial_gaps import PATIENCE, SerialGaps, serial_of

TEST_KEY = "guardhouse-test"
CALLS = 40_000  # five records each
RECORDS = 5 * CALLS
SYSCALL = 1300
TRIES = 3
QUIET_SECONDS = 2.0
UNLINK = """
import os, sys
sys.stdin.readline()
for number in range(int(sys.argv[1])):
    try:
        os.unlink("/nowhere/file")
    except OSError:
        pass
"""


@pytest.fixture
def abi() -> Abi:
    return machine_abis()[0]


@pytest.fixture
def reader(audit: AuditControl) -> Iterator[AuditReader]:
    """The records of this machine come to us, switched on with a backlog as the agent sets it."""
    before = audit.status()
    made = AuditReader()
    made.take_records()
    audit.set(backlog_limit=8192, enabled=1)
    yield made
    audit.set(enabled=before.enabled, backlog_limit=before.backlog_limit, wait_time=before.wait_time)
    made.close()


class Worker:
    """A program that unlinks nothing, so many times, once it is told to."""

    def __init__(self, count: int) -> None:
        self.child = subprocess.Popen([sys.executable, "-S", "-c", UNLINK, str(count)], stdin=subprocess.PIPE)

    def rule(self, abi: Abi) -> Rule:
        call = abi.numbers.get("unlink", abi.numbers["unlinkat"])
        fields = (Field(ARCH, abi.arch), Field(PID, self.child.pid), Field(KEY, TEST_KEY))
        return Rule(fields, frozenset((call,)))

    def go(self) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(b"\n")
        self.child.stdin.close()


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker(CALLS)
    yield made
    made.child.kill()
    made.child.wait()


class Mine:
    """Keeps the records of the events that one process made: those with the serial of one of its calls."""

    def __init__(self, pid: int) -> None:
        self.mark = b" pid=%d " % pid
        self.serials: set[int] = set()

    def keep(self, records: list[Record]) -> Iterator[tuple[int | str, int]]:
        """Yield type and serial; the record of the call comes first, in this batch or an earlier one."""
        for kind, text in records:
            raw = text if isinstance(text, bytes) else text.encode()
            serial = serial_of(raw)
            if kind == SYSCALL and self.mark in raw:
                self.serials.add(serial)
            if serial in self.serials:
                yield kind, serial


def test_a_rule_is_added_once_listed_as_it_was_and_deleted(audit: AuditControl, abi: Abi) -> None:
    rule = Rule((Field(ARCH, abi.arch), Field(PID, 4_194_304), Field(KEY, TEST_KEY)), frozenset((1, 59)))
    audit.add_rule(rule)
    audit.add_rule(rule)
    found = [data for data in audit.list_rules() if unpack_rule(data) == rule]
    assert len(found) == 1
    audit.delete_rule(found[0])
    audit.delete_rule(found[0])  # gone already
    assert found[0] not in audit.list_rules()


def test_what_the_kernel_refuses_is_an_error_with_its_reason(audit: AuditControl) -> None:
    with pytest.raises(AuditError, match="set audit's failure to 99") as refused:
        audit.set(failure=99)
    assert refused.value.number


def test_two_hundred_thousand_records_are_read_and_none_is_lost(
    audit: AuditControl, reader: AuditReader, abi: Abi
) -> None:
    """Whatever the machine does meanwhile, read and lost are all; on one that lets us run, none is lost."""
    lost, missing, kinds = 0, 0, Counter[int | str]()
    for _ in range(TRIES):
        before = audit.status().lost
        worker = Worker(CALLS)
        records_read = read_all(audit, reader, worker, abi)
        lost = audit.status().lost - before
        kinds = Counter(kind for kind, _ in Mine(worker.child.pid).keep(records_read))
        gaps = SerialGaps()
        gaps.look(records_read)
        missing = sum(gaps.take() for _ in range(PATIENCE))
        assert kinds[SYSCALL] + max(lost, missing) >= CALLS
        if lost == missing == 0:
            break
    else:
        pytest.skip(f"this machine is too busy: {max(lost, missing)} were lost, and counted")
    assert kinds[SYSCALL] == CALLS
    assert reader.overflows == 0


def read_all(audit: AuditControl, reader: AuditReader, worker: Worker, abi: Abi) -> list[Record]:
    """Let the worker work and read until it has ended and nothing more comes."""
    rule = worker.rule(abi)
    audit.add_rule(rule)
    worker.go()
    records: list[Record] = []
    quiet_since = time.monotonic()
    while worker.child.poll() is None or time.monotonic() - quiet_since < QUIET_SECONDS:
        got = reader.read(20_000)
        if got:
            quiet_since = time.monotonic()
            records += got
        else:
            time.sleep(0.002)
    audit.delete_rule(pack_rule(rule))
    return records


def test_records_belong_to_one_and_a_copy_to_the_group(
    audit: AuditControl, reader: AuditReader, abi: Abi
) -> None:
    copy = AuditReader(4 * 1024 * 1024)
    copy.join_group()
    other = "from guard_agent.watch.audit_netlink import *\nAuditReader(65536).take_records()"
    refused = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=False)
    assert "take the audit records: it is there already" in refused.stderr
    small = Worker(200)
    audit.add_rule(small.rule(abi))
    small.go()
    small.child.wait(30)
    got: list[int] = []
    copied: list[int] = []
    ours, theirs = Mine(small.child.pid), Mine(small.child.pid)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not len(got) == len(copied) == 200:
        got += [serial for kind, serial in ours.keep(reader.read(10_000)) if kind == SYSCALL]
        copied += [serial for kind, serial in theirs.keep(copy.read(10_000)) if kind == SYSCALL]
        time.sleep(0.01)
    for data in audit.list_rules():
        if unpack_rule(data) == small.rule(abi):
            audit.delete_rule(data)
    copy.close()
    assert got == copied
    assert len(got) == 200


def test_what_the_kernel_cannot_hold_is_in_its_counter(
    audit: AuditControl, reader: AuditReader, worker: Worker, abi: Abi
) -> None:
    """Nobody reads, the backlog is tiny and nobody waits: the kernel must lose, and must say so."""
    small = AuditReader(4096)
    reader.close()
    small.take_records()
    lost = audit.status().lost
    audit.set(backlog_limit=4, wait_time=0)
    audit.add_rule(worker.rule(abi))
    worker.go()
    worker.child.wait(60)
    for data in audit.list_rules():
        if unpack_rule(data) == worker.rule(abi):
            audit.delete_rule(data)
    deadline = time.monotonic() + 30
    while audit.status().lost == lost and time.monotonic() < deadline:
        time.sleep(0.05)
    assert audit.status().lost > lost
    small.close()


def records(*serials: int, kind: int = SYSCALL) -> list[Record]:
    return [(kind, b"audit(1.000:%d): x" % serial) for serial in serials]


def test_numbers_that_are_missing_are_counted_once_they_are_surely_missing() -> None:
    gaps = SerialGaps()
    gaps.look(records(10, 11, 15))
    assert [gaps.take() for _ in range(PATIENCE)] == [0] * (PATIENCE - 1) + [3]
    gaps.look(records(13))  # so late that it was told as lost: told is told
    gaps.look(records(16, 17, 20))
    told = sum(gaps.take() for _ in range(2 * PATIENCE))
    assert told == 1  # 12, 14, 18 and 19 are missing, three are told
    gaps.look(records(22))
    assert gaps.take(at_once=True) == 0  # the least of the last ten looks
    assert sum(gaps.take() for _ in range(PATIENCE)) == 1


def test_an_event_counts_once_whatever_its_records_are() -> None:
    gaps = SerialGaps()
    gaps.look(records(5, kind=1006) + records(5) + records(5, kind=1302) + records(5, kind=1320))
    gaps.look(records(6, kind=1101) + records(7) + records(7, kind=1309) + records(4))
    assert sum(gaps.take() for _ in range(PATIENCE)) == 0


@pytest.mark.parametrize("text", [b"", b"audit(1.0)", b"audit(1.0:x): y", "audit(1.0:", b"\xff:\xff)"])
def test_a_text_without_a_serial_has_none(text: bytes | str) -> None:
    assert serial_of(text) == 0
