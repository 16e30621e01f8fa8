"""What `GuardMiddleware` adds to a request: reporting alone, and with rules applied, 1,000 bans loaded.

The same ASGI application bare, observed and enforced in turns, about 1,000 requests a second in bursts, with a real
agent that delivers to a collector in a process of its own; the added time is the difference of the medians. Usage:
`python bench/agent/middleware.py`.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

BENCH = Path(__file__).parents[1]
sys.path.insert(0, str(BENCH))

from _kit import finish  # noqa: E402

from guard_agent import AgentConfig, GuardMiddleware, guard_agent  # noqa: E402

ROUNDS = 9
BURSTS, BURST, PAUSE_SECONDS = 20, 50, 0.05
MUST_OBSERVE_US, MUST_ENFORCE_US = 25.0, 40.0
HEADERS = [
    (b"host", b"shop.example"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) probe"),
    (b"accept", b"text/html,application/json"),
    (b"accept-encoding", b"gzip, br"),
    (b"cookie", b"session=abc"),
    (b"x-request-id", b"7c48ac5b"),
]
BANS = [f"198.{18 + number // 250}.{number % 250}.0/{24 + number % 9}" for number in range(1000)]
RULES = {
    "rule_id": "gh-bench-0",
    "version": 1,
    "ip_blacklist": BANS,
    "bans": [{"net": net, "until": "2099-01-01T00:00:00Z"} for net in BANS],
    "blocked_user_agents": ["^curl", "sqlmap", "nikto"],
    "global_rate_limit": 1_000_000,
    "global_rate_window": 60,
    "endpoint_rate_limits": {"/login": [100, 60]},
    "suspicious_patterns": ["<script", r"\.\./", "union\\s+select"],
}
COLLECTOR = """
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.answer(b'{"success":true}')
    def do_GET(self):
        self.answer(rules)
    def answer(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
rules = sys.stdin.buffer.readline()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def main() -> None:
    """Run the rounds and print the figures."""
    with (
        subprocess.Popen(
            [sys.executable, "-c", COLLECTOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as collector,
        tempfile.TemporaryDirectory() as folder,
    ):
        assert collector.stdin is not None
        assert collector.stdout is not None
        collector.stdin.write(json.dumps(RULES).encode() + b"\n")
        collector.stdin.flush()
        port = int(collector.stdout.readline())
        agent = guard_agent(
            AgentConfig(api_key="k" * 20, endpoint=f"http://127.0.0.1:{port}", state_dir=Path(folder))
        )
        agent.start()
        while agent.rules is None:
            time.sleep(0.01)
        observe, enforce = asyncio.run(rounds(agent))
        lost = sum(agent.ledger()["metrics"]["dropped"].values())
        agent.close(10.0)
        collector.terminate()
    print(f"metrics dropped: {lost}")
    finish("middleware_observe", observe, [], "us", must=MUST_OBSERVE_US, goal=15.0, better="lower")
    finish("middleware_enforce", enforce, [], "us", must=MUST_ENFORCE_US, goal=25.0, better="lower")


async def rounds(agent: Any) -> tuple[list[float], list[float]]:
    """Return the added microseconds of each round, observing and enforcing."""
    apps = (app, GuardMiddleware(app, agent=agent), GuardMiddleware(app, agent=agent, enforce=True))
    for each in apps:
        await measure(each)
    observe, enforce = [], []
    for number in range(ROUNDS):
        bare, observed, enforced = [await measure(each) for each in apps]
        observe.append(observed - bare)
        enforce.append(enforced - bare)
        print(
            f"round {number + 1}: bare {bare:.2f} µs, observe +{observe[-1]:.2f}, enforce +{enforce[-1]:.2f}"
        )
    return observe, enforce


async def measure(each: Any) -> float:
    """Return the median time of a request in microseconds."""
    taken = []
    for burst in range(BURSTS):
        for number in range(BURST):
            scope = {
                "type": "http",
                "method": "GET",
                "path": "/items/17",
                "query_string": b"page=2&sort=name",
                "root_path": "",
                "headers": HEADERS,
                "client": (f"203.0.{burst}.{number}", 40000),
            }
            begun = time.perf_counter_ns()
            await each(scope, receive, send)
            taken.append((time.perf_counter_ns() - begun) / 1000)
        await asyncio.sleep(PAUSE_SECONDS)
    return median(taken)


async def app(_scope: Any, _receive: Any, answer: Any) -> None:
    """Answer a page of 1 KiB."""
    await answer({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await answer({"type": "http.response.body", "body": b"x" * 1024})


async def receive() -> dict[str, Any]:
    """Return an empty body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(_message: Any) -> None:
    """Take a message."""


if __name__ == "__main__":
    main()
