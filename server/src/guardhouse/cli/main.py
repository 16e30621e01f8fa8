"""The command ``guardhouse``: finds the command's file, runs it, and turns expected failures into one sentence."""

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Final, Protocol, cast

import typer

from guardhouse.foundation.start_error import StartError

# One file per command; a command's libraries are loaded only when it runs.
COMMANDS: Final = ("up", "serve", "work", "migrate", "keys", "doctor", "demo", "healthcheck", "openapi")
EXTENSIONS: Final = "guardhouse.commands"  # commands of other distributions, such as the host agent's `watch`


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
    extension = None if asked in COMMANDS else find_extension(asked)
    if extension is not None:
        sys.exit(extension(sys.argv[1:]))
    app = build((asked,)) if asked in COMMANDS else build()
    try:
        app(prog_name="guardhouse")
    except StartError as error:
        sys.stderr.write(f"guardhouse: {error}\n")
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)


def find_extension(name: str) -> Callable[[Sequence[str]], int] | None:
    """Return the command that another distribution offers under a name; it takes the arguments, name first."""
    for entry in entry_points(group=EXTENSIONS, name=name):
        return cast("Callable[[Sequence[str]], int]", entry.load())  # an entry point knows no types
    return None


def _keep_names() -> None:
    """Make typer keep the command's name even when only one is loaded."""


if __name__ == "__main__":
    run()
