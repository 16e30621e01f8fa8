"""``guardhouse demo``: a little real data, through the public doors of a running house, marked as sample.

The host agent watches one small harmless program. Where it cannot (no strace), a short batch of the same
shape is sent over HTTP.
"""

import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any

import typer

from guardhouse.cli.api_client import ApiClient
from guardhouse.cli.local_settings import READY_FILE, read_settings
from guardhouse.foundation.data_folder import create_private_folder, read_object, write_private
from guardhouse.foundation.start_error import StartError

PROGRAM = ("sh", "-c", "id; cat /etc/hosts")
STATE_FOLDER = "demo-agent"
KEY_FILE = "agent.key"
RUN_SECONDS = 60
SAMPLE = {"sample": True}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo() -> None:
    """Let the host agent report one small program to the house of this data folder."""
    settings = read_settings()
    ready = read_object(settings.data_dir / READY_FILE)
    if not ready:
        raise StartError(f"The house in {settings.data_dir} is not running: start it with `guardhouse up`.")
    api = ApiClient(str(ready["url"]), str(ready["admin_key"]))
    state = settings.data_dir / STATE_FOLDER
    create_private_folder(state)
    key_id = _ensure_agent(api, state)
    if shutil.which("strace") and importlib.util.find_spec("guard_agent"):
        _watch(api, state)
        print(f"The host agent watched `{' '.join(PROGRAM)}` and reported as {_agent_of(key_id)}.")
    else:
        count = _send_batch(api, _agent_of(key_id))
        print(
            f"{count} sample events were sent as {_agent_of(key_id)} (strace or the host agent is not installed)."
        )


def _ensure_agent(api: ApiClient, state: Path) -> str:
    """Return the id of the sample agent's key, enrolling it at first; the server may have forgotten an old one."""
    path = state / KEY_FILE
    if path.exists():
        key_id = path.read_text(encoding="ascii").rpartition(":")[0]
        status, _ = api.call("GET", f"/api/v1/agents/{_agent_of(key_id)}")
        if status == HTTPStatus.OK:
            return key_id
    hostname = socket.gethostname()
    wanted = {
        "id": f"demo-{secrets.token_hex(3)}",
        "name": f"Sample on {hostname}",
        "hostname": hostname,
        "metadata": SAMPLE,
    }
    status, made = api.call("POST", "/api/v1/agents", wanted)
    if status != HTTPStatus.CREATED:
        raise StartError(f"The sample agent could not be enrolled ({status}): {made}.")
    write_private(path, f"{made['key_id']}:{made['secret']}\n")
    return str(made["key_id"])


def _agent_of(key_id: str) -> str:
    return key_id.partition(":")[0]


def _watch(api: ApiClient, state: Path) -> None:
    command = [sys.executable, "-m", "guard_agent.watch.command", "watch", "--server", api.url]
    command += ["--key-file", str(state / KEY_FILE), "--state-dir", str(state), "--", *PROGRAM]
    try:
        done = subprocess.run(  # noqa: S603 - the installed agent
            command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise StartError(f"The host agent did not end within {RUN_SECONDS} s.") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise StartError(f"The host agent ended with status {done.returncode}: {said[-1]}.")


def _send_batch(api: ApiClient, agent_id: str) -> int:
    events = _sample_events(os.getpid(), time.time_ns())
    status, answer = api.call(
        "POST",
        "/api/v1/events",
        {
            "agent_id": agent_id,
            "boot_id": secrets.token_hex(16),
            "alphabet": "strace.set.v1",
            "events": events,
        },
        {"Idempotency-Key": secrets.token_hex(16), "Guardhouse-Family": "host"},
    )
    if status != HTTPStatus.MULTI_STATUS or answer["errors"]:
        raise StartError(f"The sample events were not taken ({status}): {answer}.")
    return len(events)


def _sample_events(pid: int, now_ns: int) -> list[dict[str, Any]]:
    """Return what a shell does that prints its user and reads one file; nothing in it is alarming."""
    calls: list[dict[str, Any]] = [
        {"kind": "exec", "exe": "/bin/sh", "args": {"argv": list(PROGRAM)}},
        {"syscall": "openat", "args": {"path": "/etc/passwd", "flags": ["O_RDONLY"]}, "ret": 3},
        {"syscall": "read", "args": {"fd": 3, "len": 4096}, "ret": 900},
        {"syscall": "openat", "args": {"path": "/etc/hosts", "flags": ["O_RDONLY"]}, "ret": 3},
        {"syscall": "read", "args": {"fd": 3, "len": 131072}, "ret": 180},
        {"syscall": "write", "args": {"fd": 1, "len": 180}, "ret": 180},
        {"kind": "exit", "code": 0},
    ]
    return [
        {
            "id": f"sample-{pid}-{now_ns}-{number}",
            "pid": pid,
            "timestamp": now_ns + number * 1_000_000,
            **call,
        }
        for number, call in enumerate(calls)
    ]
