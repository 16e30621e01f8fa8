"""The first day with the product, with its own programs alone: a house, an agent on a host, an attack, a notice."""

import contextlib
import http.client
import json
import os
import socket
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from server.tests.cli.house_process import RunningHouse, running_house
from server.tests.components.house_hands import (
    PATIENCE_SECONDS,
    a_folder,
    agent,
    enrol,
    listed,
    post,
    run_agent,
    wait_for,
)
from server.tests.components.requirements import require_program

# A careless server: takes one connection and gives it a shell, as an attacker would make it do.
SERVER = textwrap.dedent("""
    import os, socket
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        connection, _ = listener.accept()
        if os.fork() == 0:
            for number in range(3):
                os.dup2(connection.fileno(), number)
            os.execv("/bin/sh", ["sh"])
        connection.close()
        os.wait()
""")
TYPED = "id; uname -a; hostname; whoami; cat /etc/passwd; ps; df; exit\n"


@pytest.fixture(scope="module")
def house() -> Iterator[RunningHouse]:
    with a_folder() as path, running_house(path / "house", "--port", "0") as running:
        yield running


@pytest.fixture
def state() -> Iterator[Path]:
    with a_folder() as path:
        yield path


class Listening(threading.Thread):
    """A client of the live stream that keeps what it is told."""

    def __init__(self, house: RunningHouse) -> None:
        super().__init__(name="listening", daemon=True)
        place = urlsplit(house.ready["url"])
        self.connection = http.client.HTTPConnection(
            str(place.hostname), place.port, timeout=PATIENCE_SECONDS
        )
        self.connection.request(
            "GET", "/api/v1/stream?kinds=risk.*", headers={"X-API-Key": house.ready["admin_key"]}
        )
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200
        self.told: list[dict[str, Any]] = []

    def run(self) -> None:
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException, AttributeError):
            while line := self.answer.readline():
                if line.startswith(b"data: "):
                    self.told.append(json.loads(line[6:]))

    def end(self) -> None:
        if self.connection.sock is not None:
            with contextlib.suppress(OSError):
                self.connection.sock.shutdown(socket.SHUT_RDWR)
        self.join(10)
        self.answer.close()
        self.connection.close()


@pytest.fixture
def listening(house: RunningHouse) -> Iterator[Listening]:
    found = Listening(house)
    found.start()
    yield found
    found.end()


def scored(house: RunningHouse, name: str) -> list[dict[str, Any]]:
    """Return the processes of an agent once everything it has sent is scored."""
    _, shown = house.get(f"/api/v1/agents/{name}")
    last = shown["next_position"] - 1 if "next_position" in shown else None

    def done() -> list[dict[str, Any]]:
        events = listed(house, f"/api/v1/events?agent_id={name}&limit=1000")
        newest = max((event["position"] for event in events), default=0) if last is None else last
        scores = listed(house, f"/api/v1/scores?agent_id={name}&limit=1000")
        if not newest or max((score["position"] for score in scores), default=0) < newest - 50:
            return []
        return listed(house, f"/api/v1/processes?agent_id={name}&limit=1000")

    return list(wait_for(done, f"{name} is not scored"))


def recalculates_equal(house: RunningHouse, processes: list[dict[str, Any]]) -> None:
    for process in processes:
        status, said = post(house, "/api/v1/scores:recalculate", {"process_id": process["id"]})
        assert status == 200, said
        assert said["recalculation"]["equal"] is True, process["id"]


def test_a_command_that_is_watched_shows_its_processes_and_scores(house: RunningHouse, state: Path) -> None:
    require_program("strace", "apt-get install strace")
    enrol(house, state, "quiet-host")
    done = run_agent(house, state, "watch", "--", "sh", "-c", "id; cat /etc/hosts")
    assert done.returncode == 0, done.stderr
    assert "uid=" in done.stdout
    processes = scored(house, "quiet-host")
    programs = {(process["exe"] or "").rpartition("/")[2] for process in processes}
    assert {"id", "cat"} <= programs
    cat = next(process for process in processes if (process["exe"] or "").endswith("/cat"))
    opened = listed(house, f"/api/v1/events?process_id={quote(cat['id'])}&limit=1000")
    assert any(event["args"].get("path") == "/etc/hosts" for event in opened)
    status, shown = house.get(f"/api/v1/processes/{quote(cat['id'])}")
    assert (status, shown["risk"]) == (200, shown["explanation"]["risk"])
    assert all(process["band"] == process["tree_band"] == "low" for process in processes)
    recalculates_equal(house, processes)


def test_an_attack_raises_the_tree_into_a_band_and_is_told_live(
    house: RunningHouse, state: Path, listening: Listening
) -> None:
    require_program("strace", "apt-get install strace")
    enrol(house, state, "web-1")
    with agent(house, state, "watch", "--", sys.executable, "-c", SERVER) as watched:
        assert watched.stdout is not None
        port = int(watched.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as attacker:
            attacker.sendall(TYPED.encode())
            got = b""
            while chunk := attacker.recv(65536):
                got += chunk
        assert b"uid=" in got
        watched.communicate(timeout=PATIENCE_SECONDS)
    notice = wait_for(lambda: _crossing(listening), "no notice came")
    assert notice["data"]["agent_id"] == "web-1"
    assert notice["data"]["band"] in {"medium", "high"}
    processes = scored(house, "web-1")
    tree_bands = {process["tree_band"] for process in processes}
    assert tree_bands & {"medium", "high"}, [(p["exe"], p["tree_risk"]) for p in processes]
    root = next(process for process in processes if process["tree_band"] != "low")["root_id"]
    _, tree = house.get(f"/api/v1/processes/{quote(root)}/tree")
    assert tree["risk"] >= 40
    ids = {part["id"] for part in tree["explanation"]["contributions"]}
    assert "rule.shell_on_socket" in ids, ids
    assert round(sum(part["points"] for part in tree["explanation"]["contributions"]), 2) == tree["risk"]
    recalculates_equal(house, processes)


def _crossing(listening: Listening) -> dict[str, Any] | None:
    return next((told for told in listening.told if told.get("kind") == "risk.band_crossed"), None)


def test_recorded_service_runs_are_imported_and_scored(house: RunningHouse, state: Path) -> None:
    given = os.environ.get("GUARDHOUSE_SHARED_DATA")
    data = (
        (Path(given) if given else Path(__file__).parents[4] / "shared" / "data") / "syscall" / "service-runs"
    )
    if not data.is_dir():
        pytest.skip(f"no {data}: set GUARDHOUSE_SHARED_DATA to the folder of the development data")
    for name, log in (("normal", "test_normal_20"), ("attacked", "test_attack_cmd_injection_0")):
        enrol(house, state / name, name)
        done = run_agent(house, state / name, "import", "--shift-to", "now", str(data / f"{log}.strace.gz"))
        assert done.returncode == 0, done.stderr
    assert scored(house, "normal")
    assert max(process["tree_risk"] for process in scored(house, "attacked")) >= 40
    recalculates_equal(house, scored(house, "attacked")[:3])
