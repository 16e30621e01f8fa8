"""``guardhouse demo``: send a little real data through the public doors of a running house."""

import typer


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo() -> None:
    """Send."""
