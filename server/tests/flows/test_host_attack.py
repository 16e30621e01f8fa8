"""A host under attack, watched whole: records of this machine's kernel, through a running house, to a high score."""

import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from agent.tests.watch.conftest import audit  # noqa: F401 -- a fixture: this machine's audit system, one test at a time
from guard_agent.watch.audit_netlink import AuditControl
from server.tests.cli.house_process import RunningHouse, running_house
from server.tests.components.house_hands import PATIENCE_SECONDS, a_folder, agent, enrol, listed, wait_for

pytestmark = pytest.mark.timeout(420)
TRIES = 3  # the kernel may lose records on a host that does far more than we can read; then it says so

# A web server with a hole: what is posted runs in a shell, whose input and output are the connection.
SERVER = textwrap.dedent("""
    import http.server, os, subprocess
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.wfile.write(b"HTTP/1.0 200 OK\\r\\n\\r\\n")
            command = self.rfile.read(int(self.headers["content-length"]))
            number = self.connection.fileno()
            subprocess.run(["/bin/sh", "-c", command], stdin=number, stdout=number, stderr=number)
        def log_message(self, *_):
            pass
    made = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    print(made.server_address[1], flush=True)
    made.serve_forever()
""")
COMMAND = "id; uname -a; hostname; whoami; cat /etc/shadow | head -1; ps; df; true"


@pytest.fixture(scope="module")
def house() -> Iterator[RunningHouse]:
    with a_folder() as path, running_house(path / "house", "--port", "0") as running:
        yield running


@pytest.fixture
def state() -> Iterator[Path]:
    with a_folder() as path:
        yield path


@pytest.fixture
def victim() -> Iterator[tuple[int, int]]:
    """The server with the hole: its pid and its port."""
    child = subprocess.Popen([sys.executable, "-S", "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    yield child.pid, int(child.stdout.readline())
    child.kill()
    child.communicate()


def attack(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as attacker:
        attacker.sendall(f"POST / HTTP/1.0\r\nContent-Length: {len(COMMAND)}\r\n\r\n{COMMAND}".encode())
        got = b""
        while chunk := attacker.recv(65536):
            got += chunk
    return got


def tree_of(house: RunningHouse, pid: int) -> dict[str, Any] | None:
    """Return the tree that a pid is the root of, or a member, once it is in the high band."""
    for process in listed(house, f"/api/v1/processes?agent_id=host-1&pid={pid}&limit=10"):
        if process["tree_band"] == "high":
            _, tree = house.get(f"/api/v1/processes/{quote(process['root_id'])}/tree?limit=1000")
            return dict(tree)
    return None


def test_a_hole_in_a_server_that_ran_before_the_agent_scores_high(
    house: RunningHouse,
    state: Path,
    victim: tuple[int, int],
    audit: AuditControl,  # noqa: F811 -- the fixture, by its name
) -> None:
    pid, port = victim
    before = audit.status()
    enrol(house, state, "host-1")
    with agent(house, state, "watch", "--cpu-limit", "0") as watching:
        assert watching.stderr is not None
        while "watching this host" not in (line := watching.stderr.readline()):
            assert line, "the agent ended before it watched"
        listening = f"/api/v1/events?agent_id=host-1&pid={pid}&syscall=listen"
        wait_for(lambda: listed(house, listening), "the inventory did not come")
        tree = None
        for _ in range(TRIES):
            assert b"uid=" in attack(port)
            try:
                tree = wait_for(lambda: tree_of(house, pid), "no high score")
            except AssertionError:
                continue
            break
        watching.send_signal(signal.SIGTERM)
        _, err = watching.communicate(timeout=PATIENCE_SECONDS)
        assert watching.returncode == 0, err
        own_pid = watching.pid
    if tree is None and "0 lost" not in err:
        pytest.skip(f"this machine is too busy to be watched whole: {err.splitlines()[-1]}")
    assert tree is not None
    assert tree["risk"] >= 70
    ids = {part["id"] for part in tree["explanation"]["contributions"]}
    assert {"rule.shell_on_socket", "rule.server_spawns_shell"} & ids, ids
    assert listed(house, f"/api/v1/events?agent_id=host-1&pid={own_pid}") == []
    assert "settings are as found" in err
    after = audit.status()
    assert (after.enabled, after.backlog_limit, after.pid) == (before.enabled, before.backlog_limit, 0)
