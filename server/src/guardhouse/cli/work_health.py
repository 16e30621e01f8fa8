"""The worker's own small door: ``/healthz``, ``/readyz``, ``/health`` and ``/metrics``, as the API has them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Generator

import uvicorn
from fastapi import FastAPI

from guardhouse.cli.listen import open_listener
from guardhouse.foundation.resources import Resources
from guardhouse.http import health, problems


@contextlib.asynccontextmanager
async def serve_health(resources: Resources, host: str) -> AsyncIterator[None]:
    """Answer on ``host`` and the port of ``worker_metrics_port`` while the block runs; port 0 answers nowhere."""
    port = resources.settings.worker_metrics_port
    if port == 0:
        yield
        return
    with open_listener(host, port) as listener:
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        app.state.resources = resources
        app.state.readiness = health.Readiness(resources)
        problems.install(app)
        app.include_router(health.router)
        config = uvicorn.Config(
            app, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False
        )
        server = _QuietServer(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="worker health")
        try:
            yield
        finally:
            server.should_exit = True
            await serving


class _QuietServer(uvicorn.Server):
    """Leaves the signals to the worker."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield
