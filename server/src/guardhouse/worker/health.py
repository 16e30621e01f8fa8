"""The worker's own small door on loopback: /healthz, /readyz and /metrics."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from datetime import datetime
from typing import Any, Final

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest

from guardhouse.audit import check
from guardhouse.foundation import jobs_claim, logs
from guardhouse.foundation.database import DatabaseAway
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.worker.engine import Engine

_HEARTBEAT: Final = Gauge(
    "guardhouse_worker_last_heartbeat_timestamp_seconds", "When this worker last wrote its row."
)
_DUE: Final = Gauge("guardhouse_jobs_due", "Jobs that are ready and not yet claimed.", ["kind"])
_CHAIN_OK: Final = Gauge(
    "guardhouse_audit_chain_ok", "1 while the last check of every tenant's audit log found it whole."
)
_PROBE_SECONDS: Final = 1.0
_SILENT_SECONDS: Final = 20.0
_log = logs.get(__name__)

Message = MutableMapping[str, Any]


class Health:
    """What the worker knows of itself."""

    def __init__(self, resources: Resources, stop: asyncio.Event, engine: Engine) -> None:
        self._resources = resources
        self._stop = stop
        self._engine = engine
        self._seen: datetime | None = None

    def beat(self, now: datetime) -> None:
        """Note that the worker has written its row."""
        self._seen = now
        _HEARTBEAT.set(now.timestamp())

    async def problems(self) -> list[str]:
        """Return why the worker is not ready; empty: it is."""
        found = []
        if self._stop.is_set():
            found.append("draining")
        if self._seen is None:
            found.append("starting")
        elif (self._resources.clock.now() - self._seen).total_seconds() > _SILENT_SECONDS:
            found.append("heartbeat")
        try:
            async with asyncio.timeout(_PROBE_SECONDS), system_transaction(self._resources.database) as tx:
                await tx.fetch_value("SELECT 1")
        except (DatabaseAway, TimeoutError):
            found.append("database")
        return found

    async def metrics(self) -> bytes:
        """Return the metrics of this process, with the queue counted now."""
        with contextlib.suppress(DatabaseAway, TimeoutError):
            async with asyncio.timeout(_PROBE_SECONDS), system_transaction(self._resources.database) as tx:
                due = await jobs_claim.count_due(tx)
                _CHAIN_OK.set(0 if await check.count_broken(tx) else 1)
            for kind in self._engine.claimer.jobs:
                _DUE.labels(kind).set(due.get(kind, 0))
        return generate_latest()

    async def answer(self, path: str) -> tuple[int, str, bytes]:
        """Return status, content type and body for a path."""
        if path == "/healthz":
            return 200, "text/plain; charset=utf-8", b"ok"
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, await self.metrics()
        if path == "/readyz":
            problems = await self.problems()
            body = json.dumps({"ready": not problems, "problems": problems}).encode()
            return 503 if problems else 200, "application/json", body
        return 404, "text/plain; charset=utf-8", b"not found"

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        _receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Serve one request (ASGI)."""
        status, kind, body = await self.answer(scope["path"])
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


class _Server(uvicorn.Server):
    """A server that leaves signals to the program it is part of."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signal."""
        yield


async def serve_health(health: Health, port: int, stop: asyncio.Event) -> None:
    """Serve until ``stop``. Port 0 serves nothing; a port that is taken is a warning."""
    if port == 0:
        return
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            _log.warning("worker_health_port_taken", port=port, error=str(error))
            return
        config = uvicorn.Config(
            health, lifespan="off", access_log=False, log_config=None, log_level="warning"
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await asyncio.wait([serving, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
