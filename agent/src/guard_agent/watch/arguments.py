"""The words of the command line, as `argparse` reads them."""

import argparse
import datetime as dt
import socket
from pathlib import Path

from guard_agent import watch
from guard_agent.watch.credentials import host_id
from guard_agent.watch.forward_alerts import ALERT_FORMATS
from guard_agent.watch.recorded_log import FORMATS
from guard_agent.watch.unit import UNIT_PATH


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="guardhouse-agent", description="Report what programs do to Guardhouse."
    )
    parser.add_argument("--version", action="version", version=f"guardhouse-agent {watch.__version__}")
    commands = parser.add_subparsers(
        dest="verb", metavar="watch | import | enroll | doctor | install-unit", required=True
    )

    watching = commands.add_parser("watch", help="report what this host does, or what one command does")
    _add_where(watching)
    _add_watch(watching)
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
    _add_unit(commands.add_parser("install-unit", help="write the systemd unit of this agent"))
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


def _add_unit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--print", action="store_true", help="print the unit instead")
    parser.add_argument("--program", metavar="PATH", help="what the unit starts (default: this program)")
    parser.add_argument("--to", type=Path, default=UNIT_PATH, metavar="PATH", help=f"default: {UNIT_PATH}")


def _add_watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--exec", action="store_true", help="run the command that follows (the default with one)"
    )
    parser.add_argument(
        "--all-calls", action="store_true", help="with a command: trace every call (about 17 times slower)"
    )
    parser.add_argument("--deep", action="store_true", help="every call of --pid or --cgroup, with bpftrace")
    parser.add_argument("--pid", type=int, metavar="PID", help="with --deep: a process and what it starts")
    parser.add_argument("--cgroup", metavar="PATH", help="with --deep: a control group (cgroup v2)")
    parser.add_argument(
        "--add-rules", action="store_true", help="where an audit daemon runs: add our rules to its own"
    )
    parser.add_argument(
        "--cleanup",
        action="store_true",
        help="put audit back as an agent that was killed had found it, and end",
    )
    parser.add_argument(
        "--cpu-limit",
        type=float,
        metavar="PERCENT",
        help="of one core, over which only security events are kept; 0 for no limit (default: 25, with a command 0)",
    )
    parser.add_argument(
        "--redact-file",
        type=Path,
        metavar="PATH",
        help="more words and /patterns/ to redact (else `redact` in the state folder)",
    )


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format",
        choices=[*FORMATS, *ALERT_FORMATS],
        help="what the files are (default: what they look like, auditd or strace)",
    )
    parser.add_argument(
        "--follow", action="store_true", help="wait for more at the end (falco, tetragon, tracee)"
    )
    parser.add_argument("--shift-to", choices=["now"], help="move all times so that the last event is now")
    parser.add_argument(
        "--date", type=dt.date.fromisoformat, metavar="YYYY-MM-DD", help="day of -t/-tt times (UTC)"
    )


def parse(words: list[str]) -> argparse.Namespace:
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
