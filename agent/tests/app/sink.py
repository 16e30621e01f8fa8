"""A collector on loopback that answers as it is scripted, and remembers all that it was sent."""

import gzip
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import zstandard


@dataclass
class Script:
    """One answer: status, headers and body; `reset`: none at all; `keeps`: the items are stored all the same."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b'{"success":true}'
    reset: bool = False
    keeps: bool = False
    hang_seconds: float = 0.0


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    body: bytes
    document: dict[str, Any]


Chooser = Callable[[Request], Script | None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Sink:
    """Stores each event and metric once by its key, as Guardhouse does. `script` is used up by batches first."""

    def __init__(self, *, native: bool = False) -> None:
        self.native = native
        self.script: list[Script] = []
        self.choose: Chooser = lambda _: None
        self.requests: list[Request] = []
        self.stored: dict[str, list[dict[str, Any]]] = {"events": [], "metrics": []}
        self.keys: dict[str, set[str]] = {"events": set(), "metrics": set()}
        self.rules: dict[str, Any] = {}
        self.etag = '"0"'
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)

    @property
    def batches(self) -> list[Request]:
        with self.lock:
            return [request for request in self.requests if request.path in PATHS]

    def of(self, path: str) -> list[Request]:
        with self.lock:
            return [request for request in self.requests if request.path.split("?")[0] == path]

    def names(self, lane: str = "events") -> list[str]:
        """What was stored, by the `reason` of events and the `endpoint` of metrics."""
        with self.lock:
            return [item["reason" if lane == "events" else "endpoint"] for item in self.stored[lane]]

    def answer(self, request: Request) -> Script:
        with self.lock:
            self.requests.append(request)
            if request.path.startswith("/api/v1/rules"):
                return self.choose(request) or self._rules(request)
            if request.path == "/api/v1/status":
                return self.choose(request) or Script()
            script = self.choose(request) or (self.script.pop(0) if self.script else None)
            if script is not None and not script.keeps:
                return script
            answer = self._store(request.document)
            return script or Script(body=json.dumps(answer).encode())

    def _rules(self, request: Request) -> Script:
        if self.native and request.headers.get("if-none-match") == self.etag:
            return Script(304, body=b"")
        headers = {"ETag": self.etag} if self.native else {}
        return Script(200, headers, json.dumps(self.rules).encode())

    def _store(self, document: dict[str, Any]) -> dict[str, Any]:
        accepted = duplicates = 0
        for lane in ("events", "metrics"):
            for item in document.get(lane, ()):
                if item["idempotency_key"] in self.keys[lane]:
                    duplicates += 1
                    continue
                self.keys[lane].add(item["idempotency_key"])
                self.stored[lane].append(item)
                accepted += 1
        return {"success": True, "accepted": accepted, "duplicates": duplicates, "rejected": 0}


PATHS = ("/api/v1/events", "/api/v1/metrics", "/api/v1/events/encrypted")


def decode(body: bytes, coding: str) -> bytes:
    if coding == "gzip":
        return gzip.decompress(body)
    return zstandard.decompress(body) if coding == "zstd" else body


def _handler(sink: Sink) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - a class in a function
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = decode(raw, headers.get("content-encoding", "identity"))
            self._reply(Request("POST", self.path, headers, raw, body, json.loads(body)))

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._reply(Request("GET", self.path, headers, b"", b"", {}))

        def _reply(self, request: Request) -> None:
            script = sink.answer(request)
            sink.closing.wait(script.hang_seconds)
            if script.reset:
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(script.status)
            for name, value in script.headers.items():
                self.send_header(name, value)
            if sink.native:
                self.send_header("Guardhouse-Version", "1")
            body = b"" if script.status in (204, 304) else script.body
            if script.status not in (204, 304):
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (ConnectionError, ValueError, OSError):
                self.close_connection = True

    return Handler


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until a condition holds, generously; the assertion after it says what is wrong."""
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
