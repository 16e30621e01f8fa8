"""Assembles the API: middleware, problems, every feature's routes. The only importer of routes."""

import asyncio
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
from guardhouse.identity.bearers import Bearers
from guardhouse.identity.clients import routes as client_routes
from guardhouse.identity.jobs import keep_last_seen, keep_last_use
from guardhouse.identity.keys import KeyCache
from guardhouse.identity.membership import routes as membership_routes
from guardhouse.identity.oauth import routes as oauth_routes
from guardhouse.identity.oidc import routes as oidc_routes
from guardhouse.identity.session_cache import SessionCache
from guardhouse.identity.sign_in import routes as sign_in_routes
from guardhouse.identity.trust import routes as trust_routes
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
    bearers = Bearers(resources)
    session_cache = SessionCache(lambda: resources.wake.connected)
    hub = Hub(resources)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        caches = (key_cache, session_cache, bearers)
        stops = [resources.wake.subscribe("identity", cache.drop) for cache in caches]
        noting = [
            asyncio.create_task(keep_last_use(resources, key_cache)),
            asyncio.create_task(keep_last_seen(resources, session_cache)),
        ]
        try:
            yield
        finally:
            for task in noting:
                task.cancel()
            await asyncio.gather(*noting, return_exceptions=True)
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
        dependencies=[Depends(refuse_unacceptable), Depends(refuse_unknown_parameters)],
    )
    app.state.resources = resources
    app.state.key_cache = key_cache
    app.state.bearers = bearers
    app.state.session_cache = session_cache
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
        client_routes.router,
        oauth_routes.router,
        oidc_routes.pages,
        oidc_routes.router,
        trust_routes.router,
        membership_routes.router,
        sign_in_routes.router,
        sign_in_routes.doors,
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
