"""``guardhouse migrate``: bring the schema to the newest version, step by step, or say where it stands."""

import time
from typing import Annotated

import typer
from alembic.util import CommandError

from guardhouse.cli import database_sentence
from guardhouse.cli.local_settings import local_settings, owner_url
from guardhouse.foundation import migrate as schema
from guardhouse.foundation.start_error import StartError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("migrate")(migrate)


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 when steps are due.")
    ] = False,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL of all steps, change nothing.")] = False,
    to: Annotated[
        str, typer.Option(help="Stop at this version; an older one takes newer steps back with their data.")
    ] = "head",
) -> None:
    """Bring the database schema up to date; safe to run from several machines at once."""
    if sql:
        schema.print_sql(to)
        return
    settings = local_settings()
    url = owner_url(settings)
    try:
        current = schema.current_now(url)
        if check:
            _check(current)
            return
        for revision, forward in schema.path(current, to):
            begun = time.monotonic()
            if forward:
                schema.upgrade(url, single_role=settings.single_role, to=revision)
            else:
                schema.downgrade(url, single_role=settings.single_role, to=revision)
            print(f"  ✓ {'up' if forward else 'back'} to {revision} ({time.monotonic() - begun:.1f} s)")
        print(f"The schema is at {schema.current_now(url) or 'base'}.")
    except CommandError as error:
        raise StartError(f"There is no way to the version {to}: {str(error).rstrip('.')}.") from error
    except schema.FAULTS as error:
        raise StartError(database_sentence.explain(error, url)) from error


def _check(current: str | None) -> None:
    due = schema.path(current, "head")
    if due:
        print(f"The schema is at {current or 'nothing'}; due: {', '.join(name for name, _ in due)}.")
        raise typer.Exit(1)
    print(f"The schema is at {current}, the newest version.")
