"""The command ``guardhouse``: finds the command's file, runs it, and turns expected failures into one sentence."""

import importlib
import sys
from typing import Final, Protocol, cast

import typer

from guardhouse.foundation.start_error import StartError

# One file per command; a command's libraries are loaded only when it runs.
COMMANDS: Final = ("up", "serve", "work", "migrate", "keys", "doctor", "demo", "healthcheck", "openapi")


class _CommandFile(Protocol):
    def register(self, app: typer.Typer) -> None: ...


def build(names: tuple[str, ...] = COMMANDS) -> typer.Typer:
    """Return the command line with the named commands."""
    app = typer.Typer(
        help="Guardhouse: where the guards of APIs, hosts and AI agents report in.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_keep_names)
    for name in names:
        module = importlib.import_module(f"guardhouse.cli.{name}")
        cast("_CommandFile", module).register(app)  # import_module knows no protocol
    return app


def run() -> None:
    """Run the command named by the arguments; exit 1 with one sentence when it cannot do its work."""
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    app = build((asked,)) if asked in COMMANDS else build()
    try:
        app(prog_name="guardhouse")
    except StartError as error:
        sys.stderr.write(f"guardhouse: {error}\n")
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)


def _keep_names() -> None:
    """Make typer keep the command's name even when only one is loaded."""


if __name__ == "__main__":
    run()
