"""What a person at a house's machine does: run the host agent, ask the API, wait for what must come."""

import contextlib
import http.client
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from server.tests.cli.house_process import RunningHouse, clean_environment

COMMAND = "import sys; from guard_agent.watch.command import main; sys.exit(main())"
PATIENCE_SECONDS = 60.0


@contextlib.contextmanager
def a_folder() -> Iterator[Path]:
    """A folder that the database may enter, which runs as another user when the tests run as root."""
    path = Path(tempfile.mkdtemp(prefix="guardhouse-flow-"))
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def agent(house: RunningHouse, state: Path, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
    verb, *rest = arguments
    command = [
        sys.executable,
        "-c",
        COMMAND,
        verb,
        "--server",
        house.ready["url"],
        "--state-dir",
        str(state),
        *rest,
    ]
    environment = clean_environment(GUARDHOUSE_API_KEY=house.ready["admin_key"])
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def run_agent(house: RunningHouse, state: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    with agent(house, state, *arguments) as process:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def enrol(house: RunningHouse, state: Path, name: str) -> None:
    done = run_agent(house, state, "enroll", "--id", name)
    assert done.returncode == 0, done.stderr


def listed(house: RunningHouse, path: str) -> list[dict[str, Any]]:
    status, page = house.get(path)
    assert status == 200, page
    found: list[dict[str, Any]] = page["data"]
    return found


def wait_for(found: Any, what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (value := found()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return value


def post(house: RunningHouse, path: str, body: Any) -> tuple[int, Any]:
    place = urlsplit(house.ready["url"])
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=60)
    try:
        headers = {"X-API-Key": house.ready["admin_key"], "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()
