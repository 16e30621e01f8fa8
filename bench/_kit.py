"""What the benches share: a platform of their own to measure, a lean HTTP client, and the last line they print.

Every figure of ours stands beside its anchor, taken in turns in one run (A B A B); medians are compared.
"""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from guardhouse.foundation import migrate
from guardhouse.foundation.data_folder import DataFolder
from guardhouse.foundation.database import normal_url
from guardhouse.foundation.embedded_postgres import EmbeddedPostgres
from guardhouse.foundation.postgres_place import find_binaries
from guardhouse.foundation.resources import Resources, open_resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import keys, tenants
from guardhouse.settings import Settings


@dataclass(frozen=True, slots=True)
class Platform:
    """A running database and, when asked for, API processes (one of ``ports`` each) and workers."""

    folder: Path
    postgres: EmbeddedPostgres
    environment: dict[str, str]
    ports: list[int]
    pids: list[int] = field(default_factory=list)
    key: str = ""

    @property
    def port(self) -> int:
        """The port of the first API process."""
        return self.ports[0]

    @property
    def url(self) -> str:
        """Where the API answers."""
        return f"http://127.0.0.1:{self.port}"

    def psql(self, sql: str, *options: str) -> str:
        """Run SQL through psql as superuser and return what it prints."""
        done = subprocess.run(
            [
                find_binaries(None, None).program("psql"),
                _libpq(self.postgres.superuser_url, "guardhouse"),
                "-XqAt",
                "-v",
                "ON_ERROR_STOP=1",
                *options,
                "-c",
                sql,
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    @contextlib.asynccontextmanager
    async def resources(self) -> AsyncIterator[Resources]:
        """Open Resources on this platform in the bench's own process."""
        settings = Settings(
            database_url=self.environment["GUARDHOUSE_DATABASE_URL"],
            master_key=self.environment["GUARDHOUSE_MASTER_KEY"],
            key_peppers=self.environment["GUARDHOUSE_KEY_PEPPERS"],
            public_url=self.environment["GUARDHOUSE_PUBLIC_URL"],
            data_dir=self.folder,
        )
        async with open_resources(settings) as resources:
            yield resources


def _libpq(url: str, database: str) -> str:
    return urlsplit(url)._replace(scheme="postgresql", path=f"/{database}").geturl()


@contextlib.contextmanager
def platform(*processes: str, settings: Mapping[str, str] | None = None) -> Iterator[Platform]:
    """Start a database of its own and the named processes (``serve``, ``work``); stop all at the end.

    ``settings`` are added to the environment of the processes.
    """
    with tempfile.TemporaryDirectory(prefix="guardhouse-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with DataFolder.open(folder) as locked, EmbeddedPostgres(locked) as postgres:
            migrate.upgrade(postgres.owner_url)
            ports = [free_port() for name in processes if name == "serve"] or [free_port()]
            environment = {
                "GUARDHOUSE_DATABASE_URL": postgres.login_url,
                "GUARDHOUSE_MASTER_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
                "GUARDHOUSE_KEY_PEPPERS": "bench:" + urlsafe_b64encode(secrets.token_bytes(32)).decode(),
                "GUARDHOUSE_DATA_DIR": str(folder),
                "GUARDHOUSE_PUBLIC_URL": f"http://127.0.0.1:{ports[0]}",
                "GUARDHOUSE_LOG_LEVEL": "warning",
                "GUARDHOUSE_ANONYMOUS_PER_MINUTE": "0",
                "GUARDHOUSE_TELEMETRY_REQUESTS_PER_MINUTE": "1000000",  # one project stands for many here
                "GUARDHOUSE_WORKER_METRICS_PORT": "0",
            } | {**(settings or {})}
            made = Platform(folder, postgres, environment, ports)
            object.__setattr__(made, "key", asyncio.run(_make_key(made)))
            with contextlib.ExitStack() as stack:
                left = iter(ports)
                for process in processes:
                    port = next(left) if process == "serve" else 0
                    made.pids.append(stack.enter_context(_process(made, process, port)).pid)
                    if port:
                        wait_for_port(port)
                try:
                    yield made
                except BaseException:
                    for log in folder.glob("*.log"):
                        print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}", file=sys.stderr)
                    raise


async def _make_key(made: Platform) -> str:
    async with made.resources() as resources, system_transaction(resources.database) as tx:
        tenant = await tenants.create_tenant(tx, resources.clock, "bench", "Bench")
        _, text = await keys.create_key(
            tx, resources.clock, resources.peppers[0], tenant, keys.NewKey("bench"), created_by="bench"
        )
        return text


@contextlib.contextmanager
def _process(made: Platform, name: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "guardhouse.cli.main", name]
    if name == "serve":
        command += ["--host", "127.0.0.1", "--port", str(port)]
    log = (made.folder / f"{name}-{port}.log").open("wb")
    process = subprocess.Popen(command, env={**os.environ, **made.environment}, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, seconds: float = 30.0) -> None:
    """Wait until something listens."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing listens on port {port}")
        time.sleep(0.05)


@contextlib.contextmanager
def running(program: Sequence[str], port: int) -> Iterator[None]:
    """Run a Python program that listens on a loopback port."""
    process = subprocess.Popen([sys.executable, *program], env=dict(os.environ))
    try:
        wait_for_port(port)
        yield
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def anchor_app(made: Platform, shape: str) -> Iterator[int]:
    """Run `anchors/orm_app.py` over a database of its own in the same PostgreSQL; gives its port."""
    made.psql("CREATE DATABASE anchor")
    url = made.postgres.superuser_url.rpartition("/")[0] + "/anchor"
    port = free_port()
    program = [
        str(Path(__file__).parent / "anchors" / "orm_app.py"),
        normal_url(url),
        shape,
        str(port),
    ]
    with running(program, port):
        yield port


class Client:
    """One keep-alive HTTP/1.1 connection that costs little CPU, so that the load does not hide the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "Client":
        """Connect to a loopback port."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
        return cls(reader, writer)

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Send a whole request and return status and body."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return status, await self._reader.readexactly(length) if length else b""

    def close(self) -> None:
        """End the connection."""
        self._writer.close()


def http_request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """Return the bytes of a request, in one piece: two packets would wait for each other."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def finish(name: str, ours: Sequence[float], anchor: Sequence[float], unit: str, **bounds: Any) -> None:
    """Print the last line: medians, their ratio, and whether the bound is held.

    ``must`` and ``goal`` bound the ratio ours/anchor (``on="ratio"``, the default) or ours itself
    (``on="ours"``); ``better="lower"`` turns the comparison round.
    """
    mine = statistics.median(ours)
    other = statistics.median(anchor) if anchor else None
    ratio = None if not other else mine / other
    judged = mine if bounds.get("on") == "ours" or ratio is None else ratio
    lower = bounds.get("better") == "lower"
    held = judged <= bounds["must"] if lower else judged >= bounds["must"]
    print(
        json.dumps(
            {
                "bench": name,
                "ours": round(mine, 4),
                "anchor": None if other is None else round(other, 4),
                "ratio": None if ratio is None else round(ratio, 4),
                "unit": unit,
                "must": bounds["must"],
                "goal": bounds.get("goal"),
                "ok": held,
            }
        )
    )
