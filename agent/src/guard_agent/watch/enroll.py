"""Enrol this host: one call to the server, one key file that only its owner can read."""

import json
import secrets
import socket
from pathlib import Path
from typing import Any, Final

from guard_agent import watch
from guard_agent.watch.answer import Answer
from guard_agent.watch.credentials import (
    KEY_FILE,
    Ready,
    Settings,
    host_id,
    write_key_file,
    write_settings,
)
from guard_agent.watch.door import Door, UnreachableError
from guard_agent.watch.sign import AgentKey, KeyUnreadableError, read_key

AGENTS_PATH: Final = "/api/v1/agents"
_TIMEOUT_SECONDS: Final = 30.0


class EnrolError(Exception):
    """The host was not enrolled; the message is one sentence with the remedy."""


class IdTakenError(EnrolError):
    """The server knows an agent of this id already."""


def enroll(door: Door, api_key: str, agent_id: str, hostname: str) -> AgentKey:
    """Ask the server for a new agent and return its key.

    Raises:
        IdTakenError: the id is known there.
        EnrolError: the server is away or refuses.
    """
    body = json.dumps({"id": agent_id, "name": agent_id, "hostname": hostname}).encode("ascii")
    headers = {
        "content-type": "application/json",
        "x-api-key": api_key,
        "user-agent": f"guardhouse-agent/{watch.__version__}",
    }
    try:
        answer = door.request("POST", AGENTS_PATH, headers, body, timeout_seconds=_TIMEOUT_SECONDS)
    except UnreachableError as error:
        raise EnrolError(f"cannot reach {door.url}: {error}; is the server running?") from error
    finally:
        door.close()
    if answer.status == 409:  # noqa: PLR2004 -- Conflict
        raise IdTakenError(
            f"the server knows an agent {agent_id!r} already: choose another --id, or rotate its key"
        )
    if answer.status != 201:  # noqa: PLR2004 -- Created
        raise EnrolError(_why(answer, door.url))
    return _key_of(answer)


def enroll_here(ready: Ready, state: Path) -> AgentKey:
    """Enrol at the server on this machine under the host's name, with a suffix when the name is taken.

    Raises:
        EnrolError: the server is away or refuses.
        OSError: the state folder cannot be written.
    """
    hostname = socket.gethostname()
    agent_id = host_id(hostname)
    try:
        key = enroll(Door(ready.url), ready.admin_key, agent_id, hostname)
    except IdTakenError:
        key = enroll(Door(ready.url), ready.admin_key, f"{agent_id}-{secrets.token_hex(3)}", hostname)
    keep(state, key, Settings(ready.url, by_ready_file=True, tenant=ready.tenant))
    return key


def keep(state: Path, key: AgentKey, settings: Settings) -> Path:
    """Write key and settings into the state folder; return the key file.

    Raises:
        OSError: the folder cannot be written.
    """
    path = state / KEY_FILE
    write_key_file(path, key.to_text())
    write_settings(state, settings)
    return path


def _key_of(answer: Answer) -> AgentKey:
    try:
        document: dict[str, Any] = json.loads(answer.body)
        return read_key(f"{document['key_id']}:{document['secret']}")
    except (ValueError, KeyError, TypeError, KeyUnreadableError) as error:
        raise EnrolError(
            "the server's answer holds no key: is it a Guardhouse server of this version?"
        ) from error


def _why(answer: Answer, url: str) -> str:
    if answer.status in (401, 403):
        return f"{url} refused the API key ({answer.status}): it needs the scope agents:write"
    try:
        document = json.loads(answer.body)
        detail = str(document.get("detail") or document.get("title") or "")[:300]
    except (ValueError, AttributeError):
        detail = ""
    return f"{url} did not enrol this host ({answer.status}{f': {detail}' if detail else ''})"
