"""``guardhouse serve``: the API in one process; SIGTERM drains it and a clean drain exits 0."""

import asyncio
import gc
import signal
import socket
from types import FrameType
from typing import Annotated

import typer
import uvicorn
import uvloop

from guardhouse.cli.listen import open_listener
from guardhouse.cli.local_settings import local_settings
from guardhouse.detections.model_file import check_model, shipped_model
from guardhouse.foundation import logs
from guardhouse.foundation.resources import open_resources
from guardhouse.foundation.start_error import StartError
from guardhouse.http.app import create_app
from guardhouse.settings import Settings

GRACE_SECONDS = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    descriptor: Annotated[int, typer.Option(hidden=True, help="A listening socket from the parent.")] = -1,
    grace_seconds: Annotated[int, typer.Option(help="How long requests may take to end.")] = GRACE_SECONDS,
) -> None:
    """Serve the API (production: behind a proxy, any number of these)."""
    settings = local_settings()
    logs.configure(settings)
    check_model(shipped_model())
    listener = socket.socket(fileno=descriptor) if descriptor >= 0 else open_listener(host, port)
    with listener:
        uvloop.run(_serve(settings, listener, grace_seconds))


async def _serve(settings: Settings, listener: socket.socket, grace_seconds: int) -> None:
    async with open_resources(settings) as resources:
        config = uvicorn.Config(
            create_app(resources),
            http="httptools",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # trusted proxies are the middleware's business
            timeout_graceful_shutdown=grace_seconds,
        )
        server = DrainingServer(config, resources.drain)
        await server.serve(sockets=[listener])
        if not server.started:
            raise StartError("The server did not start: its log says why.")


class DrainingServer(uvicorn.Server):
    """Tells the application at the first signal that the process stops.

    uvicorn runs the shutdown hooks only when every stream has ended, and streams end only when told; and it
    would raise the signal again at the end, which turns a clean drain into exit status 143.
    """

    def __init__(self, config: uvicorn.Config, drain: asyncio.Event) -> None:
        super().__init__(config)
        self._drain = drain
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Begin to stop; a second Ctrl+C does not wait for requests."""
        self._loop.call_soon_threadsafe(self._drain.set)
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then leave everything made so far out of garbage collection."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
