"""Is the process alive, is it ready, what does it measure: `/healthz`, `/readyz`, `/health`, `/metrics`."""

import hmac
import ipaddress
import shutil
import time
from dataclasses import dataclass, field
from typing import Final

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest
from pydantic import BaseModel
from starlette.responses import JSONResponse, PlainTextResponse

from guardhouse import __version__
from guardhouse.foundation import logs, migration_files
from guardhouse.foundation.errors import NotFound, Problem
from guardhouse.foundation.request import resources_of, system_transaction
from guardhouse.foundation.resources import Resources, objects_dir
from guardhouse.usage.limits import Limiter

CHECK_SECONDS: Final = 2.0
MIN_FREE_BYTES: Final = 64 << 20
_READINESS: Final = {"$ref": "#/components/schemas/ReadinessShape"}
router = APIRouter(tags=["health"])
_log = logs.get(__name__)

BUILD: Final = Gauge("guardhouse_build_info", "1, labelled with the version.", ["version"])
BUILD.labels(__version__).set(1)


class ReadinessShape(BaseModel):
    """Whether requests can be served, and why not."""

    ready: bool
    reasons: list[str]


class HealthShape(BaseModel):
    """Every component's state; `age_seconds` is how old the verdict is."""

    status: str
    reasons: list[str]
    components: dict[str, str]
    age_seconds: float | None
    version: str


class VersionShape(BaseModel):
    """The version of the server."""

    version: str


@dataclass(slots=True)
class Readiness:
    """The last verdict on each component, kept for two seconds."""

    resources: Resources
    head: str = field(default_factory=migration_files.head)
    checked_at: float | None = None
    components: dict[str, str] = field(default_factory=dict)

    async def reasons(self) -> list[str]:
        """Return what is not ready, in words; empty = ready."""
        if self.resources.drain.is_set():
            return ["draining"]
        if self.checked_at is None or time.monotonic() - self.checked_at > CHECK_SECONDS:
            self.components = {"database": await self._database(), "objects": self._objects()}
            self.checked_at = time.monotonic()
        return [f"{name}: {state}" for name, state in self.components.items() if state != "ok"]

    async def _database(self) -> str:
        try:
            async with system_transaction(self.resources) as tx:
                found = await tx.fetch_value("SELECT version_num FROM alembic_version")
        except Problem as problem:
            return problem.code
        except Exception as error:  # noqa: BLE001 - readiness is an answer whatever is wrong
            _log.warning("readiness_failed", error=type(error).__name__)
            return "migrations_pending"  # no roles, no version table: nothing was ever migrated
        return "ok" if found == self.head else "migrations_pending"

    def _objects(self) -> str:
        folder = objects_dir(self.resources.settings)
        if not folder.exists():
            return "ok"  # made at the first write
        return "ok" if shutil.disk_usage(folder).free > MIN_FREE_BYTES else "disk_full"


@router.get("/healthz", operation_id="get_liveness", response_class=PlainTextResponse)
async def get_liveness() -> str:
    """Say `ok` while the event loop turns."""
    return "ok"


@router.get(
    "/readyz",
    operation_id="get_readiness",
    response_model=ReadinessShape,
    responses={503: {"description": "Not ready.", "content": {"application/json": {"schema": _READINESS}}}},
)
async def get_readiness(request: Request) -> Response:
    """Say whether requests can be served: 200, or 503 with reasons."""
    readiness: Readiness = request.app.state.readiness
    reasons = await readiness.reasons()
    return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)


@router.get("/health", operation_id="get_health")
async def get_health(request: Request) -> HealthShape:
    """Show every component's state; always 200."""
    readiness: Readiness = request.app.state.readiness
    reasons = await readiness.reasons()
    limiter: Limiter = request.app.state.limiter
    checked = readiness.checked_at
    return HealthShape(
        status="ok" if not reasons else "unready",
        reasons=reasons,
        components=readiness.components | {"rate_limits": limiter.state},
        age_seconds=None if checked is None else round(time.monotonic() - checked, 1),
        version=__version__,
    )


@router.get("/api/v1/version", operation_id="get_version")
async def get_version() -> VersionShape:
    """Show the version of the server."""
    return VersionShape(version=__version__)


@router.get("/metrics", operation_id="get_metrics", include_in_schema=False)
async def get_metrics(request: Request) -> Response:
    """Prometheus metrics, for loopback peers without a forwarding header, or with the metrics token."""
    if not _may_scrape(request):
        raise NotFound
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _may_scrape(request: Request) -> bool:
    token = resources_of(request).settings.metrics_token
    given = request.headers.get("authorization", "")
    if token is not None and hmac.compare_digest(
        given.encode(), f"Bearer {token.get_secret_value()}".encode()
    ):
        return True
    forwarded = any(name in request.headers for name in ("forwarded", "x-forwarded-for", "x-real-ip"))
    peer = request.client.host if request.client else ""
    try:
        return ipaddress.ip_address(peer).is_loopback and not forwarded
    except ValueError:
        return False
