"""``guardhouse work``: claims jobs and runs them until SIGTERM; says on its own port how it is."""

import asyncio
import signal
from typing import Annotated

import typer
import uvloop

from guardhouse.cli.local_settings import local_settings
from guardhouse.cli.work_health import serve_health
from guardhouse.foundation import logs
from guardhouse.foundation.resources import open_resources
from guardhouse.settings import Settings
from guardhouse.worker.loop import run_worker


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("work")(work)


def work(
    host: Annotated[str, typer.Option(help="Address of its health and metrics.")] = "127.0.0.1",
) -> None:
    """Run background jobs (production: any number of these)."""
    settings = local_settings()
    logs.configure(settings)
    uvloop.run(_work(settings, host))


async def _work(settings: Settings, host: str) -> None:
    async with open_resources(settings) as resources:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, resources.drain.set)
        async with serve_health(resources, host):
            await run_worker(resources, resources.drain)
