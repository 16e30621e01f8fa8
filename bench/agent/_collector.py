"""A collector on loopback that answers as it is told and remembers what came: the other end of agents under measure.

It speaks just enough HTTP/1.1 and costs little, so that two cores hold the load, the agent and it.
"""

import asyncio
import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

Answer = tuple[int, dict[str, str], bytes]
GOOD: Answer = (200, {"content-type": "application/json"}, b'{"success":true,"accepted":1}')


def status(code: int, body: bytes = b"{}", **headers: str) -> Answer:
    """Return an answer; underscores in header names become dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return code, {"content-type": "application/json", **named}, body


@dataclass(slots=True)
class Request:
    """One request as it came; ``at`` is `time.monotonic`, the same clock in all processes of a machine."""

    at: float
    path: str
    body: bytes

    def items(self) -> list[dict[str, Any]]:
        """Return the events and metrics of a body."""
        if not self.path.endswith(("/events", "/metrics")):
            return []
        read = json.loads(self.body)
        found: list[dict[str, Any]] = read.get("events", []) + read.get("metrics", [])
        return found


@dataclass
class Collector:
    """``decide`` gives the answer to a request; None means silence. ``taken`` has what was answered with 2xx."""

    decide: Callable[[Request], Answer | None] = lambda _request: GOOD
    remember: bool = True
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    taken: list[Request] = field(default_factory=list)
    counted: int = 0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where it listens, or listened."""
        return f"http://127.0.0.1:{self.port}"

    def taken_items(self) -> list[dict[str, Any]]:
        """Return every item of the bodies that were taken, copies included."""
        return [item for request in list(self.taken) for item in request.items()]

    def listen(self) -> None:
        """Take connections, on the port of last time."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def refuse(self) -> None:
        """Close every connection and take no more."""
        asyncio.run_coroutine_threadsafe(self._refuse(), self._loop).result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 25)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        serving = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                answer = self._judge(await _read(reader))
                if answer is None:
                    await asyncio.sleep(3600)
                    continue
                code, headers, body = answer
                lines = [f"HTTP/1.1 {code} -", *(f"{name}: {value}" for name, value in headers.items())]
                if code != 204:
                    lines.append(f"content-length: {len(body)}")
                writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + (b"" if code == 204 else body))
        writer.close()

    def _judge(self, request: Request) -> Answer | None:
        answer = self.decide(request)
        if self.remember:
            self.requests.append(request)
        if answer is not None and 200 <= answer[0] < 300:
            self.counted += request.body.count(b'"idempotency_key"')
            if self.remember:
                self.taken.append(request)
        return answer


async def _read(reader: asyncio.StreamReader) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    return Request(time.monotonic(), first.split(" ")[1], body)


@contextmanager
def collector(**options: Any) -> Iterator[Collector]:
    """Run a collector in a thread of its own; it listens from the start."""
    made = Collector(**options)
    thread = threading.Thread(target=made._loop.run_forever, daemon=True)  # noqa: SLF001 -- its own loop
    thread.start()
    made.listen()
    try:
        yield made
    finally:
        made.refuse()
        made._loop.call_soon_threadsafe(made._loop.stop)  # noqa: SLF001 -- its own loop
        thread.join()
