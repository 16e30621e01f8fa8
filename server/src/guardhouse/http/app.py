"""Assembles the API: middleware, problems, every feature's routes. The only importer of routes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI

from guardhouse import __version__
from guardhouse.agents import routes as agents_routes
from guardhouse.events import routes as events_routes
from guardhouse.foundation.resources import Resources
from guardhouse.http import contract, health, llms_txt, problem_pages, problems, reference
from guardhouse.http.accept import refuse_unacceptable
from guardhouse.http.cors import Cors
from guardhouse.http.kill_switch import KillSwitch
from guardhouse.http.middleware import Frame
from guardhouse.http.parameters import refuse_unknown_parameters
from guardhouse.identity import routes as identity_routes
from guardhouse.identity.jobs import keep_last_use
from guardhouse.identity.keys import KeyCache
from guardhouse.identity.kill_switch import routes as kill_switch_routes
from guardhouse.identity.kill_switch.mode import ModeCache
from guardhouse.identity.kill_switch.store import CHANNEL
from guardhouse.ingest import routes as ingest_routes
from guardhouse.live import routes as live_routes
from guardhouse.live.hub import Hub
from guardhouse.scores import routes as scores_routes
from guardhouse.scores.wait import Backlog


def create_app(resources: Resources) -> FastAPI:
    """Return the application over opened Resources."""
    key_cache = KeyCache(lambda: resources.wake.connected)
    platform_mode = ModeCache(resources)
    kill_switch = KillSwitch()
    hub = Hub(resources)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        stops = [
            resources.wake.subscribe("identity", key_cache.drop),
            resources.wake.subscribe(CHANNEL, platform_mode.drop),
        ]
        noting = asyncio.create_task(keep_last_use(resources, key_cache))
        try:
            yield
        finally:
            noting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await noting
            for stop in stops:
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
        dependencies=[
            Depends(kill_switch),
            Depends(refuse_unacceptable),
            Depends(refuse_unknown_parameters),
        ],
    )
    app.state.resources = resources
    app.state.key_cache = key_cache
    app.state.platform_mode = platform_mode
    app.state.first_checks = (kill_switch,)  # ahead of caller and body, which a dependency alone is not
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
        reference.router,
        llms_txt.router,
        identity_routes.router,
        kill_switch_routes.router,
        agents_routes.router,
        events_routes.router,
        scores_routes.router,
        live_routes.router,
    ):
        app.include_router(router)
    if resources.settings.cors_origins:
        app.add_middleware(Cors, origins=resources.settings.cors_origins)
    app.add_middleware(Frame, resources=resources)
    return app
