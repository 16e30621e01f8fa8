"""``guardhouse work``: claims jobs and runs them until SIGTERM; on its own port it says how it is."""

import asyncio
import gc
import signal

import typer
import uvloop

from guardhouse.cli.local_settings import local_settings
from guardhouse.detections.model_file import check_model, shipped_model
from guardhouse.foundation import logs
from guardhouse.foundation.resources import open_resources
from guardhouse.settings import Settings
from guardhouse.worker.loop import run_worker


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("work")(work)


def work() -> None:
    """Run background jobs (production: any number of these)."""
    settings = local_settings()
    logs.configure(settings)
    check_model(shipped_model())
    uvloop.run(_work(settings))


async def _work(settings: Settings) -> None:
    async with open_resources(settings) as resources:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, resources.drain.set)
        gc.collect()
        gc.freeze()  # everything made so far stays; a full collection over it would stop every send
        gc.set_threshold(50_000, 20, 20)
        await run_worker(resources, resources.drain)
