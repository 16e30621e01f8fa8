"""Our own agent against a running house, and a process killed without warning: its heir closes the ledger."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.tests.cli.house_process import RunningHouse, clean_environment, running_house
from server.tests.components.house_hands import a_folder, wait_for

pytestmark = pytest.mark.timeout(240)
CAPTURED = 400
PROGRAM = """
import asyncio, json, os, sys, time
from datetime import UTC, datetime
from guard_agent import AgentConfig, SecurityEvent, SecurityMetric, guard_agent

given = json.loads(sys.argv[1])
agent = guard_agent(AgentConfig(**given["config"]))
agent.start()
for number in range(given["captured"]):
    now = datetime.now(UTC)
    kind = "penetration_attempt" if number % 2 else "suspicious_request"
    agent.send_event(
        SecurityEvent(timestamp=now, event_type=kind, ip_address="192.0.2.1", action_taken="x", reason=str(number))
    )
    agent.send_metric(SecurityMetric(timestamp=now, metric_type="request_count", value=1.0, tags={}))
while agent.ledger()["events"]["pending"]["memory"]:
    time.sleep(0.01)
print("captured", flush=True)
sys.stdin.readline()
agent.stop()
"""


def process(house: RunningHouse, state: Path) -> "subprocess.Popen[str]":
    """Start a process with an agent that captures at once, and stops when it is sent a line."""
    config = {
        "api_key": house.ready["admin_key"],
        "endpoint": house.ready["url"],
        "project_id": "shop",
        "state_dir": str(state),
    }
    made = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps({"config": config, "captured": CAPTURED})],
        env=clean_environment(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert made.stdout is not None
    assert made.stdout.readline() == "captured\n"
    return made


def ask(house: RunningHouse, path: str, **body: str) -> dict[str, Any]:
    """Ask the API: with a body it is a POST."""
    url, headers = f"{house.ready['url']}/api/v1{path}", {"X-API-Key": house.ready["admin_key"]}
    method = "POST" if body else "GET"
    answer = httpx.request(method, url, headers=headers, json=body or None, timeout=60)
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def is_settled(found: dict[str, Any]) -> bool:
    waiting = found["events"]["pending"] + found["metrics"]["pending"]
    told = (found["states"], found["instances"], found["unaccounted"], waiting)
    return told == (["healthy", "unclean"], 2, [], 0)


def test_a_killed_process_leaves_nothing_that_nobody_can_account_for(tmp_path: Path) -> None:
    with a_folder() as path, running_house(path / "house", "--port", "0") as house:
        project = ask(house, "/projects", slug="shop")["id"]
        with process(house, tmp_path) as dead:
            dead.kill()

        def delivery() -> dict[str, Any]:
            found: dict[str, Any] = ask(house, f"/projects/{project}/delivery")["exact"]
            processes = ask(house, f"/projects/{project}/instances")["data"]
            return found | {"states": sorted(one["state"] for one in processes)}

        with process(house, tmp_path) as heir:
            # Unclean with the first batch that the heir sends for it; the ledger follows once all of them are there.
            wait_for(lambda: is_settled(delivery()), "the heir did not close the ledger")
            heir.communicate("stop\n", timeout=60)
        wait_for(lambda: delivery()["states"] == ["ended", "unclean"], "the heir did not say goodbye")
        found = delivery()
        assert found["unaccounted"] == []
        for lane in ("events", "metrics"):
            account = found[lane]
            assert (account["unaccounted"], account["pending"], account["duplicates"]) == (0, 0, 0)
            assert CAPTURED <= account["stored"] + account["rolled_up"] <= account["captured"] <= 2 * CAPTURED
