import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard_agent.watch import loss as lost
from guard_agent.watch.loss import Loss, LossLedger, loss_event
from guard_agent.watch.segment import MAGIC, read_records, scan
from guard_agent.watch.spool import Spool, is_plain
from guard_agent.watch.spool_ledger import SLOT_BYTES, LedgerFile
from guard_agent.watch.stream import SpoolBusyError, Stream

STREAM = Stream("0198c0de", "web-1", "boot", "strace.full.v1", {"source": "live"})


def call(number: int, syscall: str = "read", **more: Any) -> dict[str, Any]:
    return {"kind": "call", "timestamp": 10**18 + number, "pid": 10, "syscall": syscall, **more}


def drain(spool: Spool, most: int = 1000) -> list[dict[str, Any]]:
    """Take everything out as the sender does, as if the server had stored it."""
    events = []
    while (gathered := spool.gather(most)) is not None:
        events += [json.loads(payload) for payload in gathered.payloads]
        spool.settle(gathered.last, len(gathered.payloads), {})
    return events


def seqs(events: list[dict[str, Any]]) -> list[int]:
    return [event["seq"] for event in events]


def test_events_come_out_in_order_across_both_classes(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", STREAM, segment_bytes=500)
    spool.append([call(n, "execve" if n % 3 == 0 else "read") for n in range(50)])
    events = drain(spool, most=7)
    assert seqs(events) == list(range(1, 51))
    assert [event["timestamp"] for event in events] == [10**18 + n for n in range(50)]
    assert (spool.waiting, spool.stored) == (0, 50)
    assert spool.close()
    assert not list((tmp_path / "s").glob("*.seg"))


def test_numbers_go_on_after_a_restart_even_when_all_was_delivered(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", STREAM)
    spool.append([call(1), call(2)])
    drain(spool)
    spool.close()
    again = Spool(tmp_path / "s")
    again.append([call(3)])
    assert seqs(drain(again)) == [3]
    assert again.stream == STREAM
    again.close()


def test_what_was_not_settled_is_there_after_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", STREAM)
    spool.append([call(n) for n in range(10)])
    first = spool.gather(4)
    assert first is not None
    spool.settle(first.last, 4, {})
    spool.gather(4)  # in flight, never settled
    spool.close()
    again = Spool(tmp_path / "s")
    assert again.waiting == 6
    assert seqs(drain(again)) == [5, 6, 7, 8, 9, 10]
    again.close()


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", STREAM)
    with pytest.raises(SpoolBusyError):
        Spool(tmp_path / "s")
    spool.close()
    Spool(tmp_path / "s").close()


def test_torn_at_every_byte_of_the_last_record(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    spool = Spool(whole, STREAM)
    spool.append([call(1, "execve"), call(2, "execve"), call(3, "execve")])
    spool.close()
    (segment,) = whole.glob("*.seg")
    ends = [offset for _, _, offset in read_records(segment)]
    for cut in range(ends[1], ends[2]):
        folder = tmp_path / f"cut-{cut}"
        shutil.copytree(whole, folder)
        os.truncate(folder / segment.name, cut)
        (folder / "ledger").unlink()  # a power loss can take the counts of the last second as well
        torn = Spool(folder)
        assert torn.waiting == 2
        torn.append([call(4, "execve")])
        assert seqs(drain(torn)) == [1, 2, 3]
        torn.close()


def test_a_flipped_bit_anywhere_cuts_there_and_never_raises(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", STREAM)
    spool.append([call(n, "execve") for n in range(3)])
    spool.close()
    (path,) = (tmp_path / "s").glob("*.seg")
    raw = path.read_bytes()
    for at in range(len(raw)):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 0x10]) + raw[at + 1 :])
        assert scan(path, plain=False).count < 3
        path.write_bytes(raw)
    assert scan(path, plain=False).count == 3


def test_plain_calls_are_shed_from_80_percent_and_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", STREAM, limit_bytes=20_000, segment_bytes=2_000)
    spool.append([call(n, "execve") for n in range(170)])
    assert 0.8 <= spool.fullness < 1.0
    spool.append([call(n) for n in range(5)])
    spool.append([call(9, "execve")])
    assert spool.losses.totals == {lost.SHED: 5}
    events = drain(spool)
    assert seqs(events) == list(range(1, len(events) + 1))  # shed events never had a number: no gap
    told = [event for event in events if event["kind"] == "loss"]
    assert [(event["where"], event["count"], event["from"], event["to"]) for event in told] == [
        (lost.SHED, 5, 10**18, 10**18 + 4)
    ]
    spool.close()


def test_at_100_percent_the_oldest_plain_segment_goes_first_then_the_oldest_other(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", STREAM, limit_bytes=20_000, segment_bytes=2_000)
    spool.append([call(n) for n in range(60)])
    offered = 60
    for n in range(400):
        spool.append([call(n, "execve")])
        offered += 1
        assert spool.bytes_used <= 20_000
    events = drain(spool)
    assert not [event for event in events if event["kind"] == "call" and is_plain(event)]
    stored = [event for event in events if event["kind"] != "loss"]
    assert len(stored) + spool.losses.total == offered
    told = [event for event in events if event["kind"] == "loss"]
    assert {event["where"] for event in told} == {lost.DROPPED}
    assert sum(event["count"] for event in told) == spool.losses.total  # a dropped loss event is told again
    assert all(event["metadata"]["first_seq"] <= event["metadata"]["last_seq"] for event in told)
    spool.close()


def test_too_large_an_event_is_counted_not_sent(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", STREAM)
    spool.append([call(1), call(2, metadata={"x": "y" * 20_000}), call(3)])
    assert spool.losses.totals == {lost.TOO_LARGE: 1}
    assert [event.get("timestamp") for event in drain(spool) if event["kind"] == "call"] == [
        10**18 + 1,
        10**18 + 3,
    ]
    spool.close()


FULL_DISK = """
import json, resource, signal, sys
from pathlib import Path
from guard_agent.watch.spool import Spool
from guard_agent.watch.stream import Stream
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = Spool(Path(sys.argv[1]), Stream("s", "web-1", "b", "a", {}))
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))
for n in range(1000):
    spool.append([{"kind": "exec", "timestamp": n, "pid": 1, "syscall": "execve"}])
print(json.dumps([spool.offered, spool.waiting, spool.losses.total, spool.told]))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
spool.close()
"""


def test_a_full_disk_loses_nothing_uncounted(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "s")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    offered, waiting, losses, told = json.loads(done.stdout)
    assert losses > 0
    assert waiting - told + losses == offered == 1000
    again = Spool(tmp_path / "s")  # the counts outlived the process; the loss is told now that there is room
    assert again.losses.totals == {lost.DISK: losses}
    events = drain(again)
    assert seqs(events) == list(range(1, len(events) + 1))
    assert sum(event["count"] for event in events if event["kind"] == "loss") == losses
    assert len([event for event in events if event["kind"] == "exec"]) + losses == offered
    again.close()


NO_SPACE = """
import json, os, sys
from pathlib import Path
from guard_agent.watch.spool import Spool
from guard_agent.watch.stream import Stream
folder = Path(sys.argv[1])
(folder / "ballast").write_bytes(bytes(128 * 1024))
spool = Spool(folder / "s", Stream("s", "web-1", "b", "a", {}))
for n in range(3000):
    spool.append([{"kind": "exec", "timestamp": n, "pid": 1, "syscall": "execve"}])
full = [spool.offered, spool.waiting, spool.losses.total, spool.told]
(folder / "ballast").unlink()
spool.append([{"kind": "exec", "timestamp": 3000, "pid": 1, "syscall": "execve"}])
spool.close()
again = Spool(folder / "s")
print(json.dumps([full, [again.offered, again.waiting, again.losses.total, again.told]]))
"""


def test_a_file_system_without_space_loses_nothing_uncounted(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=256k none {tmp_path} && exec {sys.executable} -c "$0" {tmp_path}'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, NO_SPACE],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "denied" in done.stderr or "not permitted" in done.stderr:
        pytest.skip("SKIPPED: a small file system can be mounted by root alone")
    full, after = json.loads(done.stdout)
    offered, waiting, losses, told = full
    assert losses > 0
    assert waiting - told + losses == offered == 3000
    assert after[2] == losses
    assert after[1] - after[3] + losses == 3001


def test_losses_counted_before_the_spool_belong_to_what_was_offered(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", STREAM)
    spool.append([call(1)])
    spool.count_loss(Loss(lost.UNREADABLE, 3, 5, 6))
    events = drain(spool)
    assert spool.offered == 4
    assert [event["count"] for event in events if event["kind"] == "loss"] == [3]
    spool.close()


KILLED = """
import sys, time
from pathlib import Path
from guard_agent.watch.spool import Spool
spool = Spool(Path(sys.argv[1]))
n = 0
while True:
    n += 1
    spool.append([{"kind": "exec", "timestamp": n, "pid": 1, "syscall": "execve"}])
    print(n, flush=True)
"""


def test_kill_9_loses_no_event_that_was_taken(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    Spool(folder, STREAM).close()
    taken = 0
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(200)]
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().splitlines(keepends=True)
        child.stdout.close()
        child.wait()
        taken += len([line for line in said + rest if line.endswith("\n")])
    spool = Spool(folder)
    events = drain(spool)
    assert taken <= len(events) <= taken + 3  # the last one may be written and not yet said
    assert seqs(events) == list(range(1, len(events) + 1))
    spool.close()


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "plain", "send", "restart", "lose"]), st.integers(1, 40)),
        max_size=25,
    )
)
@settings(max_examples=40, deadline=None)
def test_produced_is_stored_plus_waiting_plus_lost(steps: list[tuple[str, int]]) -> None:
    folder = Path(tempfile.mkdtemp()) / "s"
    spool = Spool(folder, STREAM, limit_bytes=8_000, segment_bytes=1_500)
    offered = 0
    got: list[int] = []
    try:
        for step, count in steps:
            if step in ("add", "plain"):
                spool.append([call(n, "execve" if step == "add" else "read") for n in range(count)])
                offered += count
            elif step == "lose":
                spool.count_loss(Loss(lost.UNREADABLE, count, 1, 2))
                offered += count
            elif step == "send":
                got += seqs(drain(spool, most=count))
            else:
                spool.close()
                spool = Spool(folder, limit_bytes=8_000, segment_bytes=1_500)
            assert offered + spool.told == spool.stored + spool.waiting + spool.losses.total
        got += seqs(drain(spool))
        assert got == sorted(set(got))
    finally:
        spool.close()
        shutil.rmtree(folder.parent)


def test_ledger_keeps_the_state_before_a_torn_write(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = LedgerFile(path)
    for n in range(5):
        ledger.store({"n": n}, sync=False)
    ledger.close()
    raw = path.read_bytes()
    newest = 5 % 2 * SLOT_BYTES
    path.write_bytes(raw[:newest] + b"x" * 100 + raw[newest + 100 :])
    again = LedgerFile(path)
    assert again.load() == {"n": 3}
    again.store({"n": 9}, sync=True)
    assert again.load() == {}  # nothing newer than what this one wrote itself
    again.close()
    last = LedgerFile(path)
    assert last.load() == {"n": 9}
    last.close()


@given(st.binary(max_size=200), st.integers(0, 2 * SLOT_BYTES - 1))
def test_a_damaged_ledger_never_raises(raw: bytes, at: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger"
        path.write_bytes((b" " * at + raw).ljust(2 * SLOT_BYTES))
        ledger = LedgerFile(path)
        assert ledger.load() == {}
        ledger.close()


def test_losses_of_one_place_are_joined() -> None:
    ledger = LossLedger()
    ledger.add(Loss("a", 2, 10, 20, 5, 6))
    ledger.add(Loss("a", 3, 5, 12, 7, 9))
    ledger.add(Loss("b", 0, 1, 1))
    again = LossLedger(json.loads(json.dumps(ledger.to_json())))
    (told,) = again.take_untold()
    assert loss_event(told, 99) == {
        "kind": "loss", "timestamp": 99, "where": "a", "count": 5, "from": 5, "to": 20,
        "metadata": {"first_seq": 5, "last_seq": 9},
    }  # fmt: skip
    assert (again.total, again.take_untold()) == (5, [])


def test_magic_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "plain-1.seg"
    path.write_bytes(b"NOTSPOOL" + b"x" * 100)
    assert scan(path, plain=True).count == 0
    assert path.read_bytes() == MAGIC
