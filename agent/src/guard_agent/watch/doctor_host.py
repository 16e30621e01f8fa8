"""Say which collectors of the whole host work here, why the others do not, and what each costs.

Nothing is changed: audit is asked for its settings, the connector is heard for a moment, bpftrace traces us.
"""

import os
import platform
from pathlib import Path
from typing import Final

from guard_agent.watch.audit_beside import AUDISP_SOCKETS, AUDIT_LOG
from guard_agent.watch.audit_netlink import AuditControl, AuditError, AuditReader, Status
from guard_agent.watch.audit_set import machine_abis
from guard_agent.watch.audit_settings import LOCKED, read_found
from guard_agent.watch.bpftrace import DeepError, Traced, has_btf, make_program
from guard_agent.watch.finding import OK, WARN, Finding
from guard_agent.watch.inventory import read_stat
from guard_agent.watch.proc_connector import ConnectorError, ProcConnector

_AUDIT: Final = "audit (default mode)"
_CONNECTOR: Final = "process connector"
_DEEP: Final = "deep (bpftrace)"
_TRY_SECONDS: Final = 20.0


def examine_host_collectors(state: Path) -> list[Finding]:
    """Try audit, the process connector and bpftrace; tell what an agent that was killed has left."""
    return [*_audit(), *_left_behind(state), _connector(), _deep()]


def _audit() -> list[Finding]:
    try:
        machine_abis()
        control = AuditControl()
    except LookupError as error:
        return [Finding(WARN, _AUDIT, f"{error}: import audit logs, or use launch mode")]
    except AuditError as error:
        return [Finding(WARN, _AUDIT, f"{error}; `watch -- COMMAND` needs none of it")]
    try:
        status = control.status()
    except AuditError as error:
        return [Finding(WARN, _AUDIT, str(error))]
    finally:
        control.close()
    holder = None if not status.pid else read_stat(status.pid)
    if holder is not None:
        return [_beside(f"{holder[0]} (pid {status.pid}) has the audit records, and keeps them")]
    if status.enabled == LOCKED:
        return [_beside("audit's rules are locked until the next boot (`auditctl -e 2`)")]
    found = Finding(OK, _AUDIT, "works; about 30 µs for each audited call, nothing else is slowed down")
    return [found, *_seen_from(status)]


def _seen_from(status: Status) -> list[Finding]:
    """Tell that processes older than audit stay unseen until their next start."""
    if status.enabled or "audit=1" in _boot_line():
        return []
    text = (
        "audit is off until we start it: of processes that run already only children are seen, until they are"
        " started again; boot with audit=1 to see all"
    )
    return [Finding(WARN, "running processes", text)]


def _boot_line() -> list[str]:
    try:
        return Path("/proc/cmdline").read_text("utf-8", "replace").split()
    except OSError:
        return []


def _beside(why: str) -> Finding:
    try:
        reader = AuditReader(64 * 1024)
        try:
            reader.join_group()
        finally:
            reader.close()
        way = "a copy is read by multicast"
    except AuditError as error:
        if any(path.exists() for path in AUDISP_SOCKETS):
            way = "its audisp socket is read"
        elif os.access(AUDIT_LOG, os.R_OK):
            way = f"the end of {AUDIT_LOG} is read"
        else:
            return Finding(
                WARN, _AUDIT, f"{why}; {error}, and there is no audisp socket or readable {AUDIT_LOG}"
            )
    return Finding(
        OK, _AUDIT, f"{why}; {way}, at the cost of its own rules; `--add-rules` adds ours beside them"
    )


def _left_behind(state: Path) -> list[Finding]:
    found = read_found(state)
    if found is None:
        return []
    if found.is_running:
        return [Finding(OK, "watching now", f"an agent with pid {found.pid} watches this host")]
    return [
        Finding(
            WARN,
            "left behind",
            "an agent that was killed left audit changed: `guardhouse-agent watch --cleanup` puts it back,"
            " so does the next `watch`",
        )
    ]


def _connector() -> Finding:
    try:
        ProcConnector().close()
    except ConnectorError as error:
        return Finding(WARN, _CONNECTOR, f"{error}; without it births and ends of processes are inferred")
    return Finding(OK, _CONNECTOR, "works; costs a few µs for each fork, exec and exit")


def _deep() -> Finding:
    try:
        traced = Traced(make_program(pids=[os.getpid()], btf=has_btf()))
        traced.wait_until_tracing(_TRY_SECONDS)
        traced.stop()
    except DeepError as error:
        return Finding(WARN, _DEEP, f"{error}; `watch --all-calls -- COMMAND` traces every call without it")
    text = "works; a few µs for each system call of what is traced, nothing for all others"
    if not has_btf():
        text += "; this kernel has no BTF, so exit codes are missing"
        if platform.machine() == "x86_64":
            text += " and calls of 32-bit programs get wrong names"
    return Finding(OK, _DEEP, text)
