"""A small real server on loopback that behaves as section 2 says, and fails when a test scripts it."""

import base64
import contextlib
import fcntl
import gzip
import hashlib
import hmac
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import zstandard

from guard_agent.watch.audit_netlink import AuditControl, AuditError, Status
from guard_agent.watch.audit_rule import key_of, unpack_rule
from guard_agent.watch.inventory import read_stat
from guard_agent.watch.proc_connector import ConnectorError, ProcConnector
from guard_agent.watch.sign import AgentKey

Reply = tuple[int, dict[str, str], dict[str, Any]]
SECRET = bytes(range(32))
KEY = AgentKey("web-1:1", SECRET)


@dataclass
class Scripted:
    """One answer that stands before the real one: a status with headers and a body, or a reset connection."""

    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    problem: dict[str, Any] | None = None
    reset: bool = False
    after_store: bool = False


class Receiver:
    """What the server has seen and stored; `script` is used up before real answers are given."""

    def __init__(self) -> None:
        self.script: list[Scripted] = []
        self.requests: list[dict[str, Any]] = []
        self.stored: dict[tuple[str, int], dict[str, Any]] = {}
        self.keys: dict[str, tuple[str, bytes]] = {}
        self.nonces: set[str] = set()
        self.agents: dict[str, bytes] = {KEY.agent_id: SECRET}
        self.refuse: Callable[[dict[str, Any]], str | None] = lambda _event: None
        self.known_codings = {"zstd", "gzip"}
        self.most_events = 10_000
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)

    def events(self) -> list[dict[str, Any]]:
        with self.lock:
            return [event for _, event in sorted(self.stored.items())]

    def take(self, headers: dict[str, str], path: str, body: bytes) -> Reply:
        """Do what the door does with a batch."""
        if not self._is_signed(headers, path, body):
            return 401, {}, {"code": "unauthorized", "detail": "no valid signature"}
        coding = headers.get("content-encoding", "identity")
        if coding != "identity" and coding not in self.known_codings:
            return 415, {}, {"code": "unsupported_coding", "detail": coding}
        plain = decode(body, coding)
        document = json.loads(plain)
        if document["agent_id"] != headers["signature-input"].split('keyid="')[1].split(":")[0]:
            return 403, {}, {"code": "agent_mismatch"}
        if len(document["events"]) > self.most_events:
            return 413, {}, {"code": "batch_too_large"}
        return self._once(headers["idempotency-key"], hashlib.sha256(plain).hexdigest(), document)

    def _once(self, key: str, digest: str, document: dict[str, Any]) -> Reply:
        if key not in self.keys:
            answer = self._store(document)
            self.keys[key] = (digest, json.dumps(answer).encode())
            return 207, {}, answer
        known, stored_answer = self.keys[key]
        if known != digest:
            return 409, {}, {"code": "idempotency_key_reused"}
        return 207, {"Idempotency-Replayed": "true"}, json.loads(stored_answer)

    def enrol(self, headers: dict[str, str], document: dict[str, Any]) -> Reply:
        if headers.get("x-api-key") != "gh_live_admin":
            return 401, {}, {"code": "unauthorized"}
        if document["id"] in self.agents:
            return 409, {}, {"code": "agent_exists"}
        secret = os.urandom(32)
        self.agents[document["id"]] = secret
        text = base64.urlsafe_b64encode(secret).decode().rstrip("=")
        return 201, {}, document | {"key_id": f"{document['id']}:1", "secret": text}

    def reply(self, headers: dict[str, str], path: str, body: bytes) -> Reply | None:
        """Answer one POST; None resets the connection."""
        with self.lock:
            self.requests.append({"path": path, "headers": headers, "body": body})
            if path == "/api/v1/agents":
                return self.enrol(headers, json.loads(body))
            if not self.script:
                return self.take(headers, path, body)
            scripted = self.script.pop(0)
            if scripted.after_store:
                self.take(headers, path, body)
            return None if scripted.reset else (scripted.status, scripted.headers, scripted.problem or {})

    def _store(self, document: dict[str, Any]) -> dict[str, Any]:
        accepted = duplicates = 0
        results = []
        for index, event in enumerate(document["events"]):
            place = (document["stream"], event["seq"])
            code = self.refuse(event)
            if code is not None:
                error = {"code": code, "field": "pid", "detail": "refused by the test"}
                results.append({"index": index, "id": None, "status": "error", "error": error})
            elif place in self.stored:
                duplicates += 1
                results.append({"index": index, "id": "x", "status": "duplicate", "error": None})
            else:
                self.stored[place] = event
                accepted += 1
        errors = len(document["events"]) - accepted - duplicates
        return {
            "accepted": accepted,
            "duplicates": duplicates,
            "errors": errors,
            "position": 1,
            "results": results,
        }

    def _is_signed(self, headers: dict[str, str], path: str, body: bytes) -> bool:
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        if headers.get("content-digest") != f"sha-256=:{digest}:":
            return False
        match = re.fullmatch(r"sig1=(\(([^)]*)\);.*)", headers.get("signature-input", ""))
        if match is None:
            return False
        names = [name.strip('"') for name in match.group(2).split()]
        needed = {"@method", "@authority", "@path", "content-type", "content-digest", "idempotency-key"}
        if not needed <= set(names) or ("content-encoding" in headers) != ("content-encoding" in names):
            return False
        values = {"@method": "POST", "@authority": headers["host"], "@path": path} | headers
        base = (
            "".join(f'"{name}": {values[name]}\n' for name in names)
            + f'"@signature-params": {match.group(1)}'
        )
        key_id = re.search(r'keyid="([^"]+)"', match.group(1))
        nonce = re.search(r'nonce="([^"]{16,64})"', match.group(1))
        if key_id is None or nonce is None or nonce.group(1) in self.nonces:
            return False
        self.nonces.add(nonce.group(1))
        secret = self.agents.get(key_id.group(1).rsplit(":", 1)[0], b"?")
        code = base64.b64encode(hmac.digest(secret, base.encode(), "sha256")).decode()
        return headers.get("signature") == f"sig1=:{code}:"


def decode(body: bytes, coding: str) -> bytes:
    if coding == "zstd":
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=1 << 25)
    return gzip.decompress(body) if coding == "gzip" else body


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = receiver.reply(headers, self.path, body)
            if reply is None:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
            else:
                self.send(*reply)

        def do_GET(self) -> None:
            self.send(200, {}, {"status": "ok"})

        def send(self, status: int, headers: dict[str, str], document: dict[str, Any]) -> None:
            payload = json.dumps(document).encode()
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(payload))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)

        def finish(self) -> None:
            with contextlib.suppress(OSError, ValueError):  # the connection may be reset by the test
                super().finish()

        def log_message(self, *_args: object) -> None:
            """Stay quiet: failures are asserted, not printed."""

    return Handler


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


@pytest.fixture
def shared_data() -> Path:
    """The development data: `GUARDHOUSE_SHARED_DATA`, else `../shared/data` beside the repository."""
    given = os.environ.get("GUARDHOUSE_SHARED_DATA")
    folder = Path(given) if given else Path(__file__).parents[4] / "shared" / "data"
    if not folder.is_dir():
        _skip(
            f"no development data at {folder}: set GUARDHOUSE_SHARED_DATA to the folder that holds syscall/"
        )
    return folder


@pytest.fixture
def strace() -> str:
    found = shutil.which("strace")
    if found is None:
        _skip("strace is not installed: `apt install strace` (Debian), `dnf install strace` (Fedora)")
    assert found is not None
    return found


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path, receiver: Receiver) -> dict[str, str]:
    """The environment of an agent that was given server and key."""
    return os.environ | {
        "GUARDHOUSE_AGENT_STATE_DIR": str(tmp_path / "state"),
        "GUARDHOUSE_READY_FILE": str(tmp_path / "none.json"),
        "GUARDHOUSE_AGENT_KEY": KEY.to_text(),
        "GUARDHOUSE_URL": receiver.url,
    }


class Programs:
    """Starts the agent as a program; what a failed test left running is ended, its command included."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.children: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, **more: str) -> "subprocess.Popen[str]":
        child = subprocess.Popen(
            [sys.executable, "-m", "guard_agent.watch.command", *arguments],
            env=self.environment | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.children.append(child)
        return child

    def close(self) -> None:
        for child in self.children:
            if child.poll() is None:
                child.terminate()
                child.wait(15)
            for stream in (child.stdout, child.stderr):
                assert stream is not None
                stream.close()


@pytest.fixture
def programs(environment: dict[str, str]) -> Iterator[Programs]:
    made = Programs(environment)
    yield made
    made.close()


@pytest.fixture
def run(programs: Programs) -> Run:
    def go(*arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        child = programs.start(*arguments, **more)
        out, err = child.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, child.returncode, out, err)

    return go


def wait_for(what: Callable[[], Any], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(min(0.1, seconds / 500))


def skip_for_this_kernel(reason: str) -> None:
    """Skip for what no package brings: the kernel, or a right that this environment withholds.

    Unlike a missing program it is no failure where all tests must run; the reason stands in the table of skips.
    """
    pytest.skip(f"not on this kernel or with these rights: {reason}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests of the audit system time to wait for their turn."""
    for item in items:
        if "audit" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(AUDIT_TURN_SECONDS + 120))


@pytest.fixture
def audit() -> Iterator[AuditControl]:
    """The audit system of this machine, for one test at a time on the whole machine, and as found afterwards."""
    try:
        control = AuditControl()
        control.list_rules()
    except AuditError as error:
        skip_for_this_kernel(str(error))
        raise
    with AUDIT_LOCK.open("a") as lock:
        _take_turn(lock.fileno())
        before = control.status()
        try:
            if before.enabled == 2 or (before.pid and read_stat(before.pid) is not None):
                skip_for_this_kernel("an audit daemon has the records, or the rules are locked")
            rules = control.list_rules()
            yield control
            assert control.list_rules() == rules
            for name in ("enabled", "backlog_limit", "wait_time"):
                assert getattr(control.status(), name) == getattr(before, name), name
        finally:
            _restore(control, before)
            control.close()


AUDIT_LOCK = Path(tempfile.gettempdir()) / "guardhouse-audit-tests.lock"
AUDIT_TURN_SECONDS = 240.0


def _take_turn(lock: int) -> None:
    deadline = time.monotonic() + AUDIT_TURN_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                pytest.skip("another run of these tests has had the audit system for four minutes")
            time.sleep(0.05)
        else:
            return


def _restore(control: AuditControl, before: Status) -> None:
    """Leave nothing of a test behind, whatever went wrong."""
    control.set(enabled=before.enabled, backlog_limit=before.backlog_limit, wait_time=before.wait_time)
    for data in control.list_rules():
        if (key_of(unpack_rule(data)) or "").startswith("guardhouse"):
            control.delete_rule(data)


@pytest.fixture
def connector() -> Iterator[ProcConnector]:
    try:
        found = ProcConnector()
    except ConnectorError as error:
        skip_for_this_kernel(str(error))
        raise
    yield found
    found.close()


def require_here(present: object, reason: str) -> None:
    """Skip the test with `reason` unless `present`; fail it where all must run."""
    if not present:
        _skip(reason)


def _skip(reason: str) -> None:
    if os.environ.get("GUARDHOUSE_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
