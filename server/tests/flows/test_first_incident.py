"""A real service under the host agent, attacked through a hole of its own: one incident, one webhook per stage, an
explanation that adds up, the same numbers again, and a verdict that lowers the next alarm. It follows
`docs/tutorial/first-incident.md`."""

import contextlib
import json
import sys
import textwrap
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from server.tests.cli.house_process import RunningHouse, running_house
from server.tests.components.house_hands import (
    PATIENCE_SECONDS,
    a_folder,
    agent,
    enrol,
    listed,
    post,
    wait_for,
)
from server.tests.components.requirements import require_program
from server.tests.components.threaded_receiver import Receiver, listening_receiver

# Greets whoever asks by handing the name to a shell, and that is its mistake.
GREETER = textwrap.dedent("""
    import http.server, subprocess, urllib.parse

    class Greeter(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("name", ["you"])[0]
            said = subprocess.run(f"echo Hello {name}", shell=True, capture_output=True).stdout
            self.send_response(200)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Greeter)
    print(server.server_port, flush=True)
    server.serve_forever()
""")
INJECTED = "x; id; uname -a; hostname; whoami; cat /etc/passwd /etc/os-release /proc/version > /dev/null; ps; df; who"
SHELL = "rule.server_spawns_shell"


@pytest.fixture(scope="module")
def house() -> Iterator[RunningHouse]:
    with (
        a_folder() as path,
        running_house(path / "house", "--port", "0", GUARDHOUSE_EGRESS_ALLOW="127.0.0.1/32:*") as running,
    ):
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with listening_receiver() as found:
        yield found


@contextlib.contextmanager
def watched_greeter(house: RunningHouse, state: Path) -> Iterator[int]:
    """Run the greeter under the agent; yields its port."""
    with agent(house, state, "watch", "--", sys.executable, "-c", GREETER) as watched:
        assert watched.stdout is not None
        try:
            yield int(watched.stdout.readline())
        finally:
            watched.terminate()
            watched.communicate(timeout=PATIENCE_SECONDS)


def greet(port: int, name: str) -> str:
    url = f"http://127.0.0.1:{port}/?name={urllib.parse.quote(name)}"
    with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
        said: bytes = answer.read()
    return said.decode()


def shells(house: RunningHouse, count: int) -> list[dict[str, Any]]:
    """Wait until so many shells of the service are scored with a risk; the oldest first."""

    def found() -> list[dict[str, Any]]:
        rows = listed(house, "/api/v1/processes?agent_id=greeter&limit=1000")
        seen = [row for row in rows if row["risk"] > 0 and (row["exe"] or "").endswith("sh")]
        return sorted(seen, key=lambda row: str(row["started_at"])) if len(seen) >= count else []

    return list(wait_for(found, f"{count} shells"))


def explained(house: RunningHouse, process_id: str) -> dict[str, Any]:
    status, shown = house.get(f"/api/v1/processes/{quote(process_id)}")
    assert status == 200, shown
    found: dict[str, Any] = shown
    return found


def incidents(house: RunningHouse) -> list[dict[str, Any]]:
    return listed(house, "/api/v1/risk/incidents?agent_id=greeter")


def test_a_false_alarm_then_an_attack(house: RunningHouse, receiver: Receiver, tmp_path: Path) -> None:
    require_program("strace", "apt-get install strace")
    enrol(house, tmp_path, "greeter")
    status, made = post(house, "/api/v1/webhooks", {"url": receiver.url, "kinds": ["risk.*"]})
    assert status == 201, made
    with watched_greeter(house, tmp_path) as port:
        assert greet(port, "Ada") == "Hello Ada\n"
        (first,) = shells(house, 1)
        (incident,) = wait_for(lambda: incidents(house), "no incident")
        assert (incident["status"], incident["techniques"]) == ("open", ["T1505.003"])
        (notice,) = wait_for(lambda: receiver.of("risk.band_crossed"), "no webhook")
        assert json.loads(notice[1])["data"]["incident_id"] == incident["id"]

        path = f"/api/v1/processes/{quote(first['id'])}/verdict"
        status, said = post(house, path, {"verdict": "false_alarm", "note": "it greets through a shell"})
        assert status == 201, said
        greet(port, "Bea")
        second = shells(house, 2)[1]
        assert second["risk"] < first["risk"]
        (taken,) = explained(house, second["id"])["explanation"]["suppressed"]
        assert (taken["id"], "false alarm" in taken["why"]) == (SHELL, True)

        assert "uid=" in greet(port, INJECTED)
        (again,) = wait_for(lambda: [one for one in incidents(house) if one["risk"] >= 90], "the attack")
        assert again["id"] == incident["id"], "one tree in one stretch is one incident"
        assert {SHELL, "rule.recon"} <= {part["id"] for part in again["top"]}
    tree = explained(house, again["tree_id"])["tree"]
    assert round(sum(part["points"] for part in tree["contributions"]), 2) == tree["risk"]
    keys = [_key(json.loads(body)["data"]) for _, body in receiver.of("risk.band_crossed")]
    assert len(keys) == len(set(keys)), "one notice per incident, band and evidence"
    for row in listed(house, "/api/v1/processes?agent_id=greeter&limit=1000"):
        status, answer = post(house, "/api/v1/scores:recalculate", {"process_id": row["id"]})
        assert (status, answer["recalculation"]["equal"]) == (200, True), row["id"]


def _key(data: dict[str, Any]) -> tuple[Any, ...]:
    return data["incident_id"], data["band"], tuple(sorted(part["id"] for part in data["contributions"]))
