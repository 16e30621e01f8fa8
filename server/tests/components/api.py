"""The real application over a test's database: called in process, or served by uvicorn on loopback."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
import uvicorn
from fastapi import FastAPI

from guardhouse.foundation.resources import Resources
from guardhouse.http.app import create_app

BASE_URL = "http://127.0.0.1:8000"  # the default public URL


@asynccontextmanager
async def running(resources: Resources) -> AsyncIterator[FastAPI]:
    """Run the application's lifespan for the length of the block."""
    app = create_app(resources)
    async with app.router.lifespan_context(app):
        yield app


@asynccontextmanager
async def client_of(resources: Resources) -> AsyncIterator[httpx.AsyncClient]:
    """Call the application in this process; what crashes in it is raised nowhere but answered."""
    async with running(resources) as app, client_for(app) as client:
        yield client


def client_for(app: FastAPI, address: str = "127.0.0.1") -> httpx.AsyncClient:
    """Return a client of a running application whose calls come from an address."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=(address, 40_000))
    return httpx.AsyncClient(transport=transport, base_url=BASE_URL)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are for pytest


@asynccontextmanager
async def served(
    resources: Resources, prepare: Callable[[FastAPI], None] | None = None
) -> AsyncIterator[str]:
    """Serve the application as ``guardhouse serve`` does, on a free port; yields its URL."""
    app = create_app(resources)
    if prepare is not None:
        prepare(app)
    config = uvicorn.Config(
        app, http="httptools", ws="none", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = _Server(config)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:
                await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving
