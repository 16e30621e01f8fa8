"""``guardhouse up``: one command from nothing to a running house."""

from pathlib import Path
from typing import Annotated

import typer

from guardhouse.cli.house import House, Wanted
from guardhouse.cli.local_settings import read_settings
from guardhouse.cli.steps import Steps
from guardhouse.foundation.data_folder import DataFolder


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("up")(up)


def up(  # noqa: PLR0913, PLR0917 - a command's options
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; without it 8000 or the next free one, 0: any.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for all local state.")] = None,
    no_demo: Annotated[bool, typer.Option("--no-demo", help="Send no sample data.")] = False,
    ready_file: Annotated[
        Path | None, typer.Option(help="Also write address and key here (0600) once ready.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Start the whole house: PostgreSQL, API and worker, in one process tree that Ctrl+C ends."""
    settings = read_settings(data_dir=data_dir.absolute() if data_dir else None)
    wanted = Wanted(host, port, not no_demo, ready_file.absolute() if ready_file else None)
    with DataFolder.open(settings.data_dir) as folder:
        House(folder, settings, wanted, Steps(quiet=quiet, as_json=as_json)).run()
