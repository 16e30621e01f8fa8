"""The command line of the host agent: `guardhouse-agent watch | import | enroll | doctor`.

Messages go to standard error, one sentence each with its remedy; standard output belongs to the watched
command. Exit status: the watched command's own; else 0, 1 for an import with refused events, 2 for a wrong
command line, 69 when the server is away or refuses, 77 without a key, 127 without strace.
"""

import argparse
import datetime as dt
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from guard_agent import watch
from guard_agent.watch.credentials import (
    Credentials,
    CredentialsError,
    Ready,
    Settings,
    find_credentials,
    host_id,
)
from guard_agent.watch.doctor import FAIL, Finding, examine_collectors, examine_server, examine_spool
from guard_agent.watch.door import Door, ServerAddressError
from guard_agent.watch.enroll import EnrolError, IdTakenError, enroll, enroll_here, keep
from guard_agent.watch.import_log import Imported, ImportStoppedError, Job, import_log
from guard_agent.watch.launch import StraceMissingError, find_strace
from guard_agent.watch.paths import ready_file, state_folder
from guard_agent.watch.record import Plan, record
from guard_agent.watch.recorded_log import FORMATS, find_logs
from guard_agent.watch.sign import AgentKey
from guard_agent.watch.stream import SpoolBusyError

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
}


def say(text: str) -> None:
    """Print one message of the agent, on standard error."""
    print(f"guardhouse-agent: {text}", file=sys.stderr, flush=True)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="guardhouse-agent", description="Report what programs do to Guardhouse."
    )
    parser.add_argument("--version", action="version", version=f"guardhouse-agent {watch.__version__}")
    commands = parser.add_subparsers(dest="verb", metavar="watch | import | enroll | doctor", required=True)

    watching = commands.add_parser("watch", help="run a command and report what it does")
    _add_where(watching)
    watching.add_argument("--all-calls", action="store_true", help="trace every call (about 17 times slower)")
    watching.add_argument("--exec", action="store_true", help="run the command that follows (the default)")
    watching.add_argument(
        "--import", dest="files", nargs="+", type=Path, metavar="FILE", help="same as `import`"
    )
    _add_import(watching)
    watching.add_argument("argv", nargs="*", metavar="-- COMMAND", help="the command and its arguments")

    importing = commands.add_parser("import", help="send recorded logs of strace or auditd")
    _add_where(importing)
    importing.add_argument("files", nargs="+", type=Path, metavar="FILE")
    _add_import(importing)

    enrolling = commands.add_parser("enroll", help="make this host known to a server and keep its key")
    _add_where(enrolling)
    enrolling.add_argument(
        "--id", default=host_id(socket.gethostname()), help="agent id (default: the host's name)"
    )
    enrolling.add_argument("--api-key", metavar="KEY", help="key with agents:write (else GUARDHOUSE_API_KEY)")
    enrolling.add_argument("--api-key-file", type=Path, metavar="PATH", help="file that holds that key")

    _add_where(commands.add_parser("doctor", help="say what works here, what does not, and why"))
    return parser


def _add_where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server", metavar="URL", help="where to report (else GUARDHOUSE_URL, else as enrolled)"
    )
    parser.add_argument(
        "--key-file", type=Path, metavar="PATH", help="key of this host (else GUARDHOUSE_AGENT_KEY)"
    )
    parser.add_argument(
        "--state-dir", type=Path, metavar="PATH", help="key and spool (else GUARDHOUSE_AGENT_STATE_DIR)"
    )


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=FORMATS, help="what the files are (default: what they look like)")
    parser.add_argument("--shift-to", choices=["now"], help="move all times so that the last event is now")
    parser.add_argument(
        "--date", type=dt.date.fromisoformat, metavar="YYYY-MM-DD", help="day of -t/-tt times (UTC)"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent with `argv` (default: the process's own) and return its exit status."""
    arguments = _parse(list(sys.argv[1:] if argv is None else argv))
    state = arguments.state_dir or state_folder()
    verbs = {"enroll": _enroll, "doctor": _doctor, "import": _import, "watch": _watch}
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


def _parse(words: list[str]) -> argparse.Namespace:
    """Parse what stands before `--`; what stands behind it is the command, untouched.

    `guardhouse watch` calls us without a verb: then options or `--` come first, and the verb is `watch`.
    """
    if words and words[0].startswith("--") and words[0] not in ("--help", "--version"):
        words = ["watch", *words]
    at = words.index("--") if "--" in words else len(words)
    arguments = make_parser().parse_args(words[:at])
    if words[at:]:
        if arguments.verb != "watch" or arguments.argv:
            make_parser().error("`--` stands before the command of `watch`")
        arguments.argv = words[at + 1 :]
    return arguments


def _watch(arguments: argparse.Namespace, state: Path) -> int:
    if arguments.files:
        return _import(arguments, state)
    if not arguments.argv:
        say("nothing to watch: give a command, as in `guardhouse-agent watch -- sh -c id`")
        return EXIT_USAGE
    find_strace()
    credentials = _credentials(arguments, state)
    if arguments.all_calls:
        say("tracing every call slows the command down about 17 times")
    return record(Plan(list(arguments.argv), credentials, state, arguments.all_calls), say)


def _import(arguments: argparse.Namespace, state: Path) -> int:
    credentials = _credentials(arguments, state)
    refused = 0
    for log in find_logs(arguments.files, arguments.format):
        job = Job(log, credentials, state, arguments.shift_to == "now", _midnight(arguments, log.paths[0]))
        done = import_log(job, say)
        _tell_import(log.name, done, shifted=job.shift)
        refused += sum(done.totals.refused.values())
    return EXIT_REFUSED if refused else 0


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
    findings = examine_collectors(os.environ)
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
