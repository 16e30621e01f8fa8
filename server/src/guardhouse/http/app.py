"""Assembles the API: middleware, problems, every feature's routes. The only importer of routes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware

from guardhouse import __version__
from guardhouse.agents import routes as agents_routes
from guardhouse.events import routes as events_routes
from guardhouse.foundation.resources import Resources
from guardhouse.http import contract, health, problem_pages, problems
from guardhouse.http.accept import refuse_unacceptable
from guardhouse.http.middleware import Frame
from guardhouse.http.parameters import refuse_unknown_parameters
from guardhouse.identity import routes as identity_routes
from guardhouse.identity.failures import Failures
from guardhouse.identity.jobs import keep_last_use
from guardhouse.identity.key_cache import KeyCache
from guardhouse.identity.registration import routes as registration_routes
from guardhouse.identity.tenancy import routes as tenancy_routes
from guardhouse.ingest import routes as ingest_routes
from guardhouse.live import routes as live_routes
from guardhouse.live.hub import Hub
from guardhouse.scores import routes as scores_routes
from guardhouse.scores.wait import Backlog

EXPOSED_HEADERS = [
    "Location",
    "ETag",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "X-Correlation-ID",
    "Idempotency-Replayed",
    "Guardhouse-Version",
]


def create_app(resources: Resources) -> FastAPI:
    """Return the application over opened Resources."""
    key_cache = KeyCache(lambda: resources.wake.connected)
    hub = Hub(resources)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        stop = resources.wake.subscribe("identity", key_cache.drop)
        noting = asyncio.create_task(keep_last_use(resources, key_cache))
        try:
            yield
        finally:
            noting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await noting
            stop()
            await hub.close()

    app = FastAPI(
        title="Guardhouse",
        version=__version__,
        summary="The guards of APIs, hosts and AI agents report in.",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        dependencies=[Depends(refuse_unacceptable), Depends(refuse_unknown_parameters)],
    )
    app.state.resources = resources
    app.state.key_cache = key_cache
    app.state.failures = Failures()
    app.state.hub = hub
    app.state.backlog = Backlog(resources)
    app.state.parameter_names = {}
    app.state.readiness = health.Readiness(resources)
    problems.install(app)
    for router in (
        ingest_routes.router,  # first: routes are matched in order, and this is where the load is
        health.router,
        problem_pages.router,
        contract.router,
        identity_routes.router,
        registration_routes.router,
        registration_routes.auth_router,
        tenancy_routes.router,
        agents_routes.router,
        events_routes.router,
        scores_routes.router,
        live_routes.router,
    ):
        app.include_router(router)
    if resources.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=resources.settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
            max_age=600,
        )
    app.add_middleware(Frame, resources=resources)
    return app
