"""What watching costs: a command bare and watched (call set, every call), and the speed of the log reader.

Two loads, each in its own process: calls outside the set (stat) and calls in it (unlink of nothing). Bare and
watched runs alternate; medians are compared. The load takes its own time, so starting Python and draining the
spool are not counted. The receiver is a small server of this process that answers 207.
"""

import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from guard_agent.watch.outbox import decode_body
from guard_agent.watch.read_report import ReadReport
from guard_agent.watch.sign import AgentKey
from guard_agent.watch.strace import open_log, read_strace

ROUNDS = 3
MUST_FACTOR_OUTSIDE = (
    1.25  # calls outside the set; the design says about 5 %, the rest is room for a shared machine
)
LOADS = {
    "outside the set": ("os.stat('/etc/hosts')", 100_000, 8_000),
    "in the set": ("unlink(n)", 8_000, 8_000),
}
PROGRAM = """
import os, sys, time
def unlink(n):
    try:
        os.unlink('/nowhere/file')
    except OSError:
        pass
count = int(sys.argv[1])
begin = time.perf_counter()
for n in range(count):
    {call}
print(time.perf_counter() - begin)
"""


class Receiver(BaseHTTPRequestHandler):
    """Answers 207 for every batch and counts its events."""

    protocol_version = "HTTP/1.1"
    events = 0

    def do_POST(self) -> None:
        """Count the events of one batch."""
        body = self.rfile.read(int(self.headers["content-length"]))
        count = len(json.loads(decode_body(body, self.headers.get("content-encoding", "identity")))["events"])
        Receiver.events += count
        answer = json.dumps({"accepted": count, "duplicates": 0, "errors": 0, "results": []}).encode()
        self.send_response(207)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_args: object) -> None:
        """Stay quiet."""


def seconds(
    load: str, count: int, watch: list[str] | None, environment: dict[str, str]
) -> tuple[float, float]:
    """Run the load once; return its own seconds and the CPU seconds of all processes of the run."""
    command = [sys.executable, "-S", "-c", PROGRAM.replace("{call}", load), str(count)]
    if watch is not None:
        command = [sys.executable, "-m", "guard_agent.watch.command", *watch, "--", *command]
    before = os.times()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    after = os.times()
    if watch is not None and "0 lost" not in done.stderr:
        raise SystemExit(f"the agent lost events: {done.stderr}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return float(done.stdout), used


def reader_speed() -> float | None:
    """Read the development logs; return lines per CPU second, None where they are absent."""
    shared = Path(os.environ.get("GUARDHOUSE_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    paths = sorted((shared / "syscall").glob("s*/**/*.gz"))
    if not paths:
        return None
    logs = [gzip.decompress(path.read_bytes()).splitlines() for path in paths]
    speeds = []
    for _ in range(ROUNDS):
        report_lines = 0
        begin = time.process_time()
        for lines in logs:
            report = ReadReport()
            for _event in read_strace(lines, fold=True, report=report):
                pass
            report_lines += report.lines
        speeds.append(report_lines / (time.process_time() - begin))
    assert sum(1 for _ in open_log(paths[0])) == len(logs[0])
    return statistics.median(speeds)


def main() -> None:
    """Print the table and the last line."""
    if shutil.which("strace") is None:
        raise SystemExit("strace is not installed: nothing to measure")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as state:
        environment = os.environ | {
            "GUARDHOUSE_AGENT_STATE_DIR": state,
            "GUARDHOUSE_AGENT_KEY": AgentKey("bench:1", bytes(32)).to_text(),
            "GUARDHOUSE_URL": f"http://127.0.0.1:{server.server_address[1]}",
        }
        outside = 0.0
        for name, (load, count, full_count) in LOADS.items():
            modes = {
                "bare": (None, count),
                "set": (["watch"], count),
                "full": (["watch", "--all-calls"], full_count),
            }
            took: dict[str, list[float]] = {mode: [] for mode in modes}
            cpu: dict[str, list[float]] = {mode: [] for mode in modes}
            for _ in range(ROUNDS):
                for mode, (watch, calls) in modes.items():
                    wall, used = seconds(load, calls, watch, environment)
                    took[mode].append(wall / calls * 1e6)
                    cpu[mode].append(used)
            micros = {mode: statistics.median(values) for mode, values in took.items()}
            for mode, value in micros.items():
                factor, used = value / micros["bare"], statistics.median(cpu[mode])
                print(f"{name:16} {mode:5} {value:9.2f} µs/call {factor:7.2f}x  CPU {used:.2f} s")
            if name == "outside the set":
                outside = micros["set"] / micros["bare"]
    speed = reader_speed()
    print(
        "log reader: "
        + ("no development logs here" if speed is None else f"{speed:,.0f} lines/s on one core")
    )
    print(f"events received: {Receiver.events:,}")
    server.shutdown()
    result = {
        "bench": "watch_overhead",
        "ours": round(outside, 3),
        "anchor": 1.0,
        "ratio": round(outside, 3),
        "unit": "x",
    }
    print(
        json.dumps(result | {"must": MUST_FACTOR_OUTSIDE, "goal": 1.05, "ok": outside <= MUST_FACTOR_OUTSIDE})
    )


if __name__ == "__main__":
    main()
