"""The command line of the host agent: `guardhouse-agent watch | import | enroll | doctor`.

Messages go to standard error, one sentence each with its remedy; standard output belongs to the watched command.
Exit status: the watched command's own; 2 for a wrong command line, 69 when the server refuses, 77 without a key,
127 without strace.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from guard_agent import watch
from guard_agent.watch.credentials import Credentials, CredentialsError, Ready, find_credentials
from guard_agent.watch.door import Door, ServerAddressError
from guard_agent.watch.enroll import EnrolError, enroll_here
from guard_agent.watch.launch import StraceMissingError, find_strace
from guard_agent.watch.paths import ready_file, state_folder
from guard_agent.watch.record import Plan, record
from guard_agent.watch.sign import AgentKey

EXIT_USAGE: Final = 2
EXIT_UNAVAILABLE: Final = 69  # EX_UNAVAILABLE of sysexits.h
EXIT_NO_PERMISSION: Final = 77  # EX_NOPERM
EXIT_NO_STRACE: Final = 127


def say(text: str) -> None:
    """Print one message of the agent, on standard error."""
    print(f"guardhouse-agent: {text}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="guardhouse-agent", description="Report what programs do to Guardhouse."
    )
    parser.add_argument("--version", action="version", version=f"guardhouse-agent {watch.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    watching = commands.add_parser("watch", help="run a command and report what it does")
    _add_server(watching)
    watching.add_argument("--all-calls", action="store_true", help="trace every call (about 17 times slower)")
    watching.add_argument("--exec", action="store_true", help=argparse.SUPPRESS)
    watching.add_argument("argv", nargs="*", metavar="-- COMMAND", help="the command and its arguments")
    return parser


def _add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server", metavar="URL", help="where to report (else GUARDHOUSE_URL, else as enrolled)"
    )
    parser.add_argument(
        "--key-file", type=Path, metavar="PATH", help="key of this host (else GUARDHOUSE_AGENT_KEY)"
    )
    parser.add_argument(
        "--state-dir", type=Path, metavar="PATH", help="key and spool (else GUARDHOUSE_AGENT_STATE_DIR)"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent with `argv` (default: the process's own) and return its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return _watch(arguments)
    except (CredentialsError, EnrolError, ServerAddressError) as error:
        say(str(error))
        return EXIT_NO_PERMISSION
    except StraceMissingError as error:
        say(str(error))
        return EXIT_NO_STRACE
    except OSError as error:
        say(f"cannot work in the state folder: {error}")
        return EXIT_UNAVAILABLE


def _watch(arguments: argparse.Namespace) -> int:
    if not arguments.argv:
        say("nothing to watch: give a command, as in `guardhouse-agent watch -- sh -c id`")
        return EXIT_USAGE
    find_strace()
    state = arguments.state_dir or state_folder()
    credentials = _credentials(arguments, state)
    if arguments.all_calls:
        say("full tracing slows the command down about 17 times")
    return record(Plan(list(arguments.argv), credentials, state, arguments.all_calls), say)


def _credentials(arguments: argparse.Namespace, state: Path) -> Credentials:
    def enrol(ready: Ready) -> AgentKey:
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
