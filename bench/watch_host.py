"""Watching a host: what each collector costs a program full of system calls, and what the agent itself uses.

The program takes its own time; bare and watched runs take turns, medians are compared. Then a generator makes
1,000 and 20,000 audited calls a second, and the agent's CPU seconds, peak memory and losses are read; calls
made = calls stored + lost and counted. Needs root and audit; without bpftrace or strace their rows are left out.
`--seconds N` and `--rounds N` make the runs shorter.
"""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from guard_agent.watch.audit_netlink import AuditControl, AuditError
from guard_agent.watch.bpftrace import DeepError, find_bpftrace
from guard_agent.watch.inventory import read_stat
from guard_agent.watch.outbox import decode_body
from guard_agent.watch.sign import AgentKey

ROUNDS = 3
CALLS = 8_000
RECORDS = 200_000
RECORDS_PER_CALL = 4  # SYSCALL, CWD, PATH, EOE; PROCTITLE is left out by a rule of ours
MUST_PERCENT_1K, GOAL_PERCENT_1K = 5.0, 2.0
MUST_CORES_20K, GOAL_CORES_20K = 1.0, 0.5
MUST_MIB = 60.0
START_SECONDS = 60.0
PROGRAM = """
import os, sys, time
count, rate = int(sys.argv[1]), float(sys.argv[2])
sys.stdin.readline()
begin = time.perf_counter()
for number in range(count):
    try:
        {call}
    except OSError:
        pass
    if rate and number % 50 == 49:
        late = begin + number / rate - time.perf_counter()
        if late > 0:
            time.sleep(late)
print(time.perf_counter() - begin)
"""
LOADS = {"not audited": "os.stat('/nowhere/file')", "audited": "os.unlink('/nowhere/file')"}


class Receiver(BaseHTTPRequestHandler):
    """Answers 207 for every batch; counts the unlinks per pid, and what loss events tell."""

    protocol_version = "HTTP/1.1"
    unlinks: dict[int, int] = {}  # noqa: RUF012 -- shared by all requests on purpose
    lost = 0

    def do_POST(self) -> None:
        """Take one batch."""
        body = self.rfile.read(int(self.headers["content-length"]))
        events = json.loads(decode_body(body, self.headers.get("content-encoding", "identity")))["events"]
        for event in events:
            if event.get("syscall") == "unlink":
                Receiver.unlinks[event["pid"]] = Receiver.unlinks.get(event["pid"], 0) + 1
            elif event["kind"] == "loss":
                Receiver.lost += event["count"]
        answer = json.dumps({"accepted": len(events), "duplicates": 0, "errors": 0, "results": []}).encode()
        self.send_response(207)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_args: object) -> None:
        """Stay quiet."""


class Load:
    """The program, started and waiting for its line."""

    def __init__(self, call: str, count: int, rate: float = 0.0, watch: list[str] | None = None) -> None:
        words = [sys.executable, "-S", "-c", PROGRAM.replace("{call}", call), str(count), str(rate)]
        if watch is not None:
            words = [sys.executable, "-m", "guard_agent.watch.command", *watch, "--", *words]
        self.child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self) -> float:
        """Let it work; return its own seconds."""
        out, _ = self.child.communicate("\n", timeout=600)
        return float(out)


@contextmanager
def agent(*words: str) -> Iterator["subprocess.Popen[str]"]:
    """Run the agent until it says that it watches, end it after the block."""
    command = [sys.executable, "-m", "guard_agent.watch.command", "watch", "--cpu-limit", "0", *words]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    while "watching " not in (line := child.stderr.readline()):
        if not line:
            raise SystemExit("the agent ended before it watched")
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate(timeout=60)
        print(err.strip().splitlines()[-1])


def overhead(rounds: int) -> dict[tuple[str, str], float]:
    """Return µs per call for each load and collector."""
    modes = ["bare", "audit"]
    modes += ["strace set", "strace full"] if shutil.which("strace") else []
    try:
        find_bpftrace()
        modes.append("bpftrace")
    except DeepError as error:
        print(error)
    took: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for name, call in LOADS.items():
            for mode in modes:
                took.setdefault((name, mode), []).append(one_run(call, mode) / CALLS * 1e6)
    found = {place: statistics.median(values) for place, values in took.items()}
    for (name, mode), micros in sorted(found.items()):
        print(f"{name:12} {mode:12} {micros:8.2f} µs/call {micros / found[name, 'bare']:7.2f}x")
    return found


def one_run(call: str, mode: str) -> float:
    """Run the load once under a collector; return its own seconds."""
    if mode.startswith("strace"):
        return Load(call, CALLS, watch=["watch", *(["--all-calls"] if mode.endswith("full") else [])]).run()
    load = Load(call, CALLS) if mode != "audit" else None
    if mode == "bare":
        assert load is not None
        return load.run()
    words = ["--deep", "--pid", str(load.child.pid)] if load is not None else []
    with agent(*words):
        return (load or Load(call, CALLS)).run()


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def at_rate(rate: float, seconds: float) -> tuple[float, float, int, int]:
    """Make calls at a rate; return cores used, peak MiB, calls lost without being counted, what was counted as lost."""
    count = int(rate * seconds)
    Receiver.lost = 0
    with agent() as child:
        load = Load(LOADS["audited"], count, rate)
        time.sleep(1.0)
        before, begun = cpu_seconds(child.pid), time.monotonic()
        load.run()
        took = time.monotonic() - begun
        pid = load.child.pid
        settle = time.monotonic() + 30
        while Receiver.unlinks.get(pid, 0) + Receiver.lost < count and time.monotonic() < settle:
            time.sleep(0.1)
        cores = (cpu_seconds(child.pid) - before) / took
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{child.pid}/status").read_text())
    stored = Receiver.unlinks.get(pid, 0)
    uncounted = max(0, count - stored - Receiver.lost)
    mib = int(peak.group(1)) / 1024 if peak else 0.0
    print(
        f"{rate:,.0f}/s wished, {count / took:,.0f}/s made: {cores:.3f} cores, {mib:.1f} MiB,"
        f" {stored:,} of {count:,} stored, {Receiver.lost} counted as lost, {uncounted} not"
    )
    return cores, mib, uncounted, Receiver.lost


def row(bench: str, ours: float, unit: str, must: float, goal: float, anchor: float | None = None) -> None:
    """Print one figure that must not be larger."""
    ratio = None if anchor is None else round(ours / anchor, 3)
    measured = ours if ratio is None else ratio
    print(
        json.dumps({
            "bench": bench, "ours": round(ours, 3), "anchor": None if anchor is None else round(anchor, 3),
            "ratio": ratio, "unit": unit, "must": must, "goal": goal, "ok": measured <= must,
        })
    )  # fmt: skip


def main() -> None:
    """Measure and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    seconds, rounds = given.seconds, given.rounds
    try:
        control = AuditControl()
        status = control.status()
        control.list_rules()
        control.close()
    except AuditError as error:
        raise SystemExit(f"nothing to measure: {error}") from None
    if status.pid and read_stat(status.pid) is not None:
        raise SystemExit("nothing to measure: an audit daemon has the records")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as state:
        os.environ |= {
            "GUARDHOUSE_AGENT_STATE_DIR": state,
            "GUARDHOUSE_AGENT_KEY": AgentKey("bench:1", bytes(32)).to_text(),
            "GUARDHOUSE_URL": f"http://127.0.0.1:{server.server_address[1]}",
        }
        micros = overhead(rounds)
        lost = at_rate(RECORDS / RECORDS_PER_CALL / 2, 2.0)[3]
        slow = at_rate(1_000, seconds)
        fast = at_rate(20_000, seconds)
    server.shutdown()
    added = micros["audited", "audit"] - micros["audited", "bare"]
    set_cost = micros.get(("audited", "strace set"))
    row("watch_host_lost_of_200k_records", lost, "records", 0, 0)
    row("watch_host_uncounted_losses", slow[2] + fast[2], "calls", 0, 0)
    row("watch_host_memory", max(slow[1], fast[1]), "MiB", MUST_MIB, MUST_MIB)
    row("watch_host_cpu_1k", slow[0] * 100, "% of a core", MUST_PERCENT_1K, GOAL_PERCENT_1K)
    row("watch_host_cpu_20k", fast[0], "cores", MUST_CORES_20K, GOAL_CORES_20K)
    if set_cost is None:
        row("watch_host_audited_call", added, "µs", 100.0, 32.0)
    else:
        row("watch_host_audited_call", added, "µs", 1.0, 0.5, set_cost - micros["audited", "bare"])


if __name__ == "__main__":
    main()
