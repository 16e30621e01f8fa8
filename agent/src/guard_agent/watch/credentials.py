"""Find the server and this host's key: flags, environment, key file, else the server on this machine."""

import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from guard_agent.watch.sign import AgentKey, KeyUnreadableError, read_key

KEY_FILE: Final = "agent.key"
SETTINGS_FILE: Final = "agent.json"
DEFAULT_SERVER: Final = "http://127.0.0.1:8000"
_ID: Final = re.compile(r"[^A-Za-z0-9_.-]+")


class CredentialsError(Exception):
    """There is no usable server or key; the message is one sentence with the remedy."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What `guardhouse up` says about itself in its ready file."""

    url: str
    admin_key: str
    tenant: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What enrolment left beside the key: the server, and whether it was found by its ready file."""

    server: str
    by_ready_file: bool = False
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where to report, and as whom."""

    server: str
    key: AgentKey


def read_key_file(path: Path) -> AgentKey:
    """Read a key file that only its owner can read.

    Raises:
        CredentialsError: it is missing, readable by others, or holds no key.
    """
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise CredentialsError(f"{path} can be read by other users: run `chmod 600 {path}`")
        return read_key(path.read_text("ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsError(f"the key file {path} cannot be read: {error}") from error
    except KeyUnreadableError as error:
        raise CredentialsError(
            f"{path} holds no key: {error}; enrol with `guardhouse-agent enroll`"
        ) from error


def write_key_file(path: Path, text: str) -> None:
    """Write a key so that only its owner can read it, in one step.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "w", encoding="ascii") as writer:
        writer.write(text + "\n")
        writer.flush()
        os.fsync(writer.fileno())
    draft.replace(path)


def read_settings(state: Path) -> Settings | None:
    """Return what enrolment left in the state folder."""
    try:
        found: dict[str, Any] = json.loads((state / SETTINGS_FILE).read_text("utf-8"))
        return Settings(str(found["server"]), bool(found.get("by_ready_file")), str(found.get("tenant", "")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_settings(state: Path, settings: Settings) -> None:
    """Write what belongs to the key beside it.

    Raises:
        OSError: the folder cannot be written.
    """
    draft = state / (SETTINGS_FILE + ".new")
    draft.write_text(json.dumps(asdict(settings)), "utf-8")
    draft.replace(state / SETTINGS_FILE)


def read_ready(path: Path) -> Ready | None:
    """Return what a running server says in its ready file; None when there is none, it is stale, or not ours.

    A file that other users could have written is not believed: it names the server that gets our events.
    """
    try:
        status = path.stat()
        if status.st_uid not in (os.getuid(), 0) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return None
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if not _is_alive(int(found["pid"])):
            return None
        return Ready(str(found["url"]).rstrip("/"), str(found["admin_key"]), str(found.get("tenant", "")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def host_id(hostname: str) -> str:
    """Turn a host name into an agent id."""
    return _ID.sub("-", hostname).strip("-.")[:60] or "host"


def find_credentials(
    *,
    state: Path,
    ready: Path,
    server: str | None,
    key_file: Path | None,
    environment: Mapping[str, str],
    enrol_here: Callable[[Ready], AgentKey],
) -> Credentials:
    """Return server and key from flags, environment, the state folder; else enrol at the server here.

    Raises:
        CredentialsError: nothing was found, or what was found cannot be used.
    """
    settings = read_settings(state)
    here = read_ready(ready)
    key = _given_key(key_file, environment)
    own = state / KEY_FILE
    named = server or environment.get("GUARDHOUSE_URL") or None
    if key is None and own.exists() and not _is_stale(settings, here, named):
        key = read_key_file(own)
    if key is None:
        if here is None or (named is not None and named.rstrip("/") != here.url):
            raise CredentialsError(
                "this host is not enrolled: start the server here with `guardhouse up`, or run"
                " `guardhouse-agent enroll --server URL --id NAME` with GUARDHOUSE_API_KEY set"
            )
        return Credentials(here.url, enrol_here(here))
    if named is None:
        if settings is not None and not (settings.by_ready_file and here is not None):
            named = settings.server
        else:
            named = here.url if here is not None else DEFAULT_SERVER
    return Credentials(named.rstrip("/"), key)


def _given_key(key_file: Path | None, environment: Mapping[str, str]) -> AgentKey | None:
    if key_file is not None:
        return read_key_file(key_file)
    text = environment.get("GUARDHOUSE_AGENT_KEY")
    if not text:
        return None
    try:
        return read_key(text)
    except KeyUnreadableError as error:
        raise CredentialsError(f"GUARDHOUSE_AGENT_KEY: {error}") from error


def _is_stale(settings: Settings | None, here: Ready | None, named: str | None) -> bool:
    """Tell whether a key got by a ready file belongs to another installation than the one that runs now."""
    if settings is None or not settings.by_ready_file or here is None:
        return False
    if named is not None and named.rstrip("/") != here.url:
        return False
    return bool(settings.tenant and here.tenant and settings.tenant != here.tenant)


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
