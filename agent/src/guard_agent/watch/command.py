"""The command line of the host agent: `guardhouse-agent watch | import | enroll | doctor | install-unit`.

Messages go to standard error, one sentence each with its remedy; standard output belongs to the watched
command. Exit status: the watched command's own; else 0, 1 for an import with refused events, 2 for a wrong
command line, 69 when the server is away or refuses or nothing can be watched, 77 without a key or the right
to watch, 127 without strace.
"""

import argparse
import datetime as dt
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from guard_agent.watch.arguments import parse
from guard_agent.watch.audit_netlink import AuditError
from guard_agent.watch.audit_settings import StillRunningError, clean_up
from guard_agent.watch.bpftrace import DeepError, find_bpftrace
from guard_agent.watch.cpu_limit import DEFAULT_PERCENT
from guard_agent.watch.credentials import (
    Credentials,
    CredentialsError,
    Ready,
    Settings,
    find_credentials,
)
from guard_agent.watch.deep_watch import DeepPlan, watch_deep
from guard_agent.watch.doctor import examine_collectors, examine_server, examine_spool
from guard_agent.watch.door import Door, ServerAddressError
from guard_agent.watch.enroll import EnrolError, IdTakenError, enroll, enroll_here, keep
from guard_agent.watch.finding import FAIL, Finding
from guard_agent.watch.forward_alerts import (
    ALERT_FORMATS,
    STDIN,
    Forwarded,
    Forwarding,
    forward_alerts,
)
from guard_agent.watch.host_watch import HostPlan, NothingToWatchError, watch_host
from guard_agent.watch.import_log import Imported, ImportStoppedError, Job, import_log
from guard_agent.watch.launch import StraceMissingError, find_strace
from guard_agent.watch.paths import ready_file, state_folder
from guard_agent.watch.record import Plan, record
from guard_agent.watch.recorded_log import find_logs
from guard_agent.watch.redact import RedactionError, Redactor, read_redactor
from guard_agent.watch.sign import AgentKey
from guard_agent.watch.stream import SpoolBusyError
from guard_agent.watch.unit import UnitError, install_unit, own_program, unit_text

EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNAVAILABLE: Final = 69  # EX_UNAVAILABLE of sysexits.h
EXIT_NO_PERMISSION: Final = 77  # EX_NOPERM
EXIT_NO_STRACE: Final = 127
EXIT_INTERRUPTED: Final = 130  # 128 + SIGINT
_NS: Final = 1_000_000_000
_EXITS: Final[dict[type[Exception], int]] = {
    CredentialsError: EXIT_NO_PERMISSION,
    ServerAddressError: EXIT_NO_PERMISSION,
    EnrolError: EXIT_UNAVAILABLE,
    IdTakenError: EXIT_UNAVAILABLE,
    ImportStoppedError: EXIT_UNAVAILABLE,
    SpoolBusyError: EXIT_UNAVAILABLE,
    StraceMissingError: EXIT_NO_STRACE,
    NothingToWatchError: EXIT_NO_PERMISSION,
    DeepError: EXIT_NO_STRACE,
    AuditError: EXIT_NO_PERMISSION,
    StillRunningError: EXIT_UNAVAILABLE,
    RedactionError: EXIT_USAGE,
    UnitError: EXIT_USAGE,
}


def say(text: str) -> None:
    """Print one message of the agent, on standard error."""
    print(f"guardhouse-agent: {text}", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent with `argv` (default: the process's own) and return its exit status."""
    arguments = parse(list(sys.argv[1:] if argv is None else argv))
    state = getattr(arguments, "state_dir", None) or state_folder()
    verbs = {
        "enroll": _enroll,
        "doctor": _doctor,
        "import": _import,
        "watch": _watch,
        "install-unit": _install_unit,
    }
    try:
        return verbs[arguments.verb](arguments, state)
    except KeyboardInterrupt:
        say("interrupted; what was read stays on disk, run the same command again to go on")
        return EXIT_INTERRUPTED
    except OSError as error:
        say(f"{error.strerror or error}: {error.filename or state}")
        return EXIT_UNAVAILABLE
    except tuple(_EXITS) as error:
        say(str(error))
        return _EXITS[type(error)]


def _watch(arguments: argparse.Namespace, state: Path) -> int:
    if arguments.files:
        return _import(arguments, state)
    if arguments.cleanup:
        say(clean_up(state))
        return 0
    wrong = _wrong_watch(arguments)
    if wrong is not None:
        say(wrong)
        return EXIT_USAGE
    redactor = _redactor(arguments, state)
    limit = DEFAULT_PERCENT if arguments.cpu_limit is None else arguments.cpu_limit
    if arguments.deep:
        find_bpftrace()
        credentials = _credentials(arguments, state)
        return watch_deep(DeepPlan(credentials, state, arguments.pid, arguments.cgroup, limit, redactor), say)
    if not arguments.argv:
        credentials = _credentials(arguments, state)
        return watch_host(HostPlan(credentials, state, arguments.add_rules, limit, redactor), say)
    find_strace()
    credentials = _credentials(arguments, state)
    if arguments.all_calls:
        say("tracing every call slows the command down about 17 times")
    limit = arguments.cpu_limit or 0.0
    return record(Plan(list(arguments.argv), credentials, state, arguments.all_calls, redactor, limit), say)


def _wrong_watch(arguments: argparse.Namespace) -> str | None:
    """Return what is wrong with the words after `watch`, None when they are one of the modes."""
    wanted = (arguments.pid is not None) + (arguments.cgroup is not None)
    if wanted != arguments.deep or (arguments.deep and arguments.argv):
        return "deep mode is `watch --deep --pid PID` or `watch --deep --cgroup PATH`, without a command"
    if not arguments.argv and (arguments.exec or arguments.all_calls):
        return "which command? `guardhouse-agent watch -- sh -c id`"
    return None


def _redactor(arguments: argparse.Namespace, state: Path) -> Redactor:
    path = arguments.redact_file or state / "redact"
    if arguments.redact_file is None and not path.exists():
        return Redactor()
    return read_redactor(path)


def _import(arguments: argparse.Namespace, state: Path) -> int:
    if arguments.format in ALERT_FORMATS:
        return _forward(arguments, state)
    if arguments.follow:
        say("--follow is for falco, tetragon and tracee: name one with --format")
        return EXIT_USAGE
    credentials = _credentials(arguments, state)
    refused = 0
    for log in find_logs(arguments.files, arguments.format):
        job = Job(log, credentials, state, arguments.shift_to == "now", _midnight(arguments, log.paths[0]))
        done = import_log(job, say)
        _tell_import(log.name, done, shifted=job.shift)
        refused += sum(done.totals.refused.values())
    return EXIT_REFUSED if refused else 0


def _forward(arguments: argparse.Namespace, state: Path) -> int:
    """Forward files of other tools; what was sent is told however it ends."""
    if arguments.follow and (len(arguments.files) > 1 or arguments.files[0] == STDIN):
        say("--follow takes one file")
        return EXIT_USAGE
    credentials = _credentials(arguments, state)
    refused = 0
    for path in arguments.files:
        done = Forwarded()
        try:
            forward_alerts(Forwarding(path, arguments.format, credentials, arguments.follow), done, say)
        finally:
            _tell_forward(path, arguments.format, done)
        refused += sum(done.totals.refused.values())
    return EXIT_REFUSED if refused else 0


def _tell_forward(path: Path, named: str, done: Forwarded) -> None:
    totals, report = done.totals, done.report
    say(
        f"{path}: {report.lines} events of {named}, {totals.stored} stored, {totals.duplicates} known before,"
        f" {sum(totals.refused.values())} refused, {report.unreadable} lines unreadable"
    )
    if report.unreadable:
        say(f"{path}: the last unreadable line: {report.kept[-1][:200]!r}")


def _tell_import(name: str, done: Imported, *, shifted: bool) -> None:
    totals = done.totals
    say(
        f"{name}: {done.report.lines} lines, {totals.stored} events stored, {totals.duplicates} known before,"
        f" {sum(totals.refused.values())} refused, {done.report.unreadable} lines unreadable"
        f"{', times moved so that the last event is now' if shifted else ''} (stream {done.stream})"
    )
    if done.report.unreadable:
        say(f"{name}: the last unreadable line: {done.report.kept[-1][:200]!r}")
    if "event_too_old" in totals.refused:
        say(f"{name}: the server takes events of the last 7 days; use `--shift-to now` to replay an old log")


def _midnight(arguments: argparse.Namespace, path: Path) -> int:
    """Return the day that `-t` times belong to, ns since the epoch: as told, else the file's last change."""
    day = arguments.date or dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC).date()
    at = dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)
    return int(at.timestamp()) * _NS


def _enroll(arguments: argparse.Namespace, state: Path) -> int:
    server = arguments.server or os.environ.get("GUARDHOUSE_URL")
    if not server:
        say("which server? give --server URL or set GUARDHOUSE_URL")
        return EXIT_USAGE
    api_key = arguments.api_key or os.environ.get("GUARDHOUSE_API_KEY")
    if arguments.api_key_file is not None:
        api_key = arguments.api_key_file.read_text("ascii").strip()
    if not api_key:
        say("an API key with agents:write is needed: set GUARDHOUSE_API_KEY, or give --api-key-file PATH")
        return EXIT_USAGE
    door = Door(server)
    key = enroll(door, api_key, arguments.id, socket.gethostname())
    path = keep(state, key, Settings(door.url))
    say(f"enrolled as {key.agent_id} at {door.url}; the key is in {path}")
    return 0


def _doctor(arguments: argparse.Namespace, state: Path) -> int:
    findings = examine_collectors(os.environ, state)
    try:
        credentials = _credentials(arguments, state, may_enrol=False)
    except (CredentialsError, ServerAddressError) as error:
        findings.append(Finding(FAIL, "key", str(error)))
    else:
        findings.append(Finding("ok", "key", f"{credentials.key.key_id}"))
        findings += examine_server(credentials)
    findings += examine_spool(state)
    for finding in findings:
        print(finding.line())
    return EXIT_REFUSED if any(finding.state == FAIL for finding in findings) else 0


def _install_unit(arguments: argparse.Namespace, _state: Path) -> int:
    program = arguments.program or own_program()
    if arguments.print:
        print(unit_text(program), end="")
        return 0
    install_unit(program, arguments.to)
    say(f"wrote {arguments.to}; enrol this host and start it:")
    say(f"  {program} enroll --state-dir /var/lib/guardhouse-agent --server URL")
    say("  systemctl daemon-reload && systemctl enable --now guardhouse-agent")
    return 0


def _credentials(arguments: argparse.Namespace, state: Path, *, may_enrol: bool = True) -> Credentials:
    def enrol(ready: Ready) -> AgentKey:
        if not may_enrol:
            raise CredentialsError(
                f"not enrolled yet; the next `watch` will enrol this host at {ready.url} by itself"
            )
        key = enroll_here(ready, state)
        say(f"enrolled this host as {key.agent_id} at {ready.url}")
        return key

    found = find_credentials(
        state=state,
        ready=ready_file(),
        server=arguments.server,
        key_file=arguments.key_file,
        environment=os.environ,
        enrol_here=enrol,
    )
    Door(found.server)
    return found


if __name__ == "__main__":
    sys.exit(main())
