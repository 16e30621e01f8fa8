"""Change the audit system for a while and put it back as found.

On stop, at the next start after a crash, or by `watch --cleanup`.
What was found is on the disk before anything is changed. Put back is only what still is as we set it: what
somebody else has changed since is theirs.
"""

import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from guard_agent.watch.audit_netlink import AuditControl, AuditError, AuditReader, Status
from guard_agent.watch.audit_rule import Rule, key_of, unpack_rule
from guard_agent.watch.audit_set import OWN_KEY
from guard_agent.watch.inventory import read_stat
from guard_agent.watch.streams import boot_id

FILE_NAME: Final = "audit-found.json"
BACKLOG_LIMIT: Final = 8192
# How long an audited call may wait for a full backlog: a slow agent slows the host a little, a dead one not for long.
WAIT_TICKS: Final = 100
LOCKED: Final = 2
_OURS: Final = ("enabled", "backlog_limit", "wait_time")
_SECONDS_TO_FREE: Final = 1.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Found:
    """What was found, what we set, and which process did; `start` tells it from a later one of the same pid."""

    boot_id: str
    pid: int
    start: int
    found: dict[str, int]
    ours: dict[str, int]

    @property
    def is_running(self) -> bool:
        """Tell whether the agent that wrote this still lives."""
        stat = read_stat(self.pid)
        return stat is not None and stat[2] == self.start


def read_found(state: Path) -> Found | None:
    """Return what an agent has found and not put back; None when there is nothing, or from an earlier boot."""
    try:
        found = Found(**json.loads((state / FILE_NAME).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.boot_id == boot_id() else None


def change_settings(control: AuditControl, state: Path, status: Status) -> Found:
    """Note what was found, then switch audit on with a backlog that holds a burst.

    Raises:
        AuditError: the kernel refuses.
        OSError: the state folder cannot be written; nothing is changed then.
    """
    ours = {
        "enabled": 1,
        "backlog_limit": max(BACKLOG_LIMIT, status.backlog_limit),
        "wait_time": min(WAIT_TICKS, status.wait_time),
    }
    found = note_settings(state, status, ours)
    for name, value in ours.items():
        if getattr(status, name) != value:
            control.set(**{name: value})
    return found


def note_settings(state: Path, status: Status, ours: dict[str, int] | None = None) -> Found:
    """Write down what was found and what we are about to set (default: nothing but rules); return it.

    Raises:
        OSError: the state folder cannot be written.
    """
    stat = read_stat(os.getpid())
    before = {name: getattr(status, name) for name in _OURS}
    found = Found(boot_id(), os.getpid(), 0 if stat is None else stat[2], before, ours or before)
    _write(state, found)
    return found


def _write(state: Path, found: Found) -> None:
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = state / (FILE_NAME + ".new")
    document: dict[str, Any] = {name: getattr(found, name) for name in Found.__dataclass_fields__}
    with draft.open("w", encoding="utf-8") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(state / FILE_NAME)


def add_rules(control: AuditControl, rules: Iterable[Rule]) -> tuple[int, str | None]:
    """Add rules; return how many are there now and the last refusal: one path that cannot be watched is no end."""
    count, refusal = 0, None
    for rule in rules:
        try:
            control.add_rule(rule)
            count += 1
        except AuditError as error:
            refusal = str(error)
    return count, refusal


def delete_rules(control: AuditControl) -> int:
    """Delete the rules that carry our key; return how many."""
    count = 0
    for data in control.list_rules():
        if key_of(unpack_rule(data)) == OWN_KEY:
            control.delete_rule(data)
            count += 1
    return count


def put_back(control: AuditControl, state: Path, found: Found | None) -> str:
    """Delete our rules and put the settings back as found; return what was done, in words.

    Raises:
        AuditError: the kernel refuses; the file stays for the next try.
    """
    if found is not None:
        status = control.status()
        for name in _OURS:
            if getattr(status, name) == found.ours[name] != found.found[name]:
                control.set(**{name: found.found[name]})
    count = delete_rules(control)
    _free_records(control)
    (state / FILE_NAME).unlink(missing_ok=True)
    settings = "settings are as found" if found is not None else "no settings were noted here to put back"
    return f"{count} audit rules removed, {settings}"


def _free_records(control: AuditControl) -> None:
    """Where a dead process still stands as the audit daemon, take its place and leave it."""
    pid = control.status().pid
    if not pid or pid == os.getpid() or read_stat(pid) is not None:
        return
    reader = AuditReader(64 * 1024)
    try:
        reader.take_records()
    finally:
        reader.close()
    deadline = time.monotonic() + _SECONDS_TO_FREE
    while control.status().pid == os.getpid() and time.monotonic() < deadline:
        time.sleep(0.01)


def clean_up(state: Path) -> str:
    """Do what `watch --cleanup` does: undo what an agent that was killed left behind; return it in words.

    Raises:
        AuditError: the kernel refuses.
        StillRunningError: the agent that changed the settings lives.
    """
    found = read_found(state)
    if found is not None and found.is_running and found.pid != os.getpid():
        raise StillRunningError(
            f"the agent with pid {found.pid} is watching: stop it, it puts everything back itself"
        )
    control = AuditControl()
    try:
        return put_back(control, state, found)
    finally:
        control.close()


class StillRunningError(Exception):
    """The agent whose settings are to be put back is still at work."""
