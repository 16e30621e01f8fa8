"""The process tree of ``guardhouse up``: database, server and worker under one supervisor.

What dies is started again, later each time; what the supervisor started ends with it, even when it is killed.
"""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardhouse.cli.child import Child
from guardhouse.cli.closing_block import closing_block
from guardhouse.cli.healthcheck import ask
from guardhouse.cli.leftovers import end_leftovers, remember
from guardhouse.cli.listen import open_listener, url_of
from guardhouse.cli.local_settings import ADMIN_FILE, READY_FILE, STATE_FILE, ensure_secrets
from guardhouse.cli.signals import woken_by_signals
from guardhouse.cli.steps import Steps
from guardhouse.foundation.data_folder import DataFolder, write_private
from guardhouse.foundation.embedded_postgres import EmbeddedPostgres
from guardhouse.foundation.migration_files import fingerprint
from guardhouse.foundation.start_error import StartError
from guardhouse.settings import PREFIX, Settings

READY_SECONDS = 60.0
TICK_SECONDS = 1.0
PING_EVERY_SECONDS = 10.0
PINGS_MISSED = 3
HOUSEKEEPING_SECONDS = 30.0
# Five seconds in all: the worker hands its leases back, then the database writes its checkpoint.
CHILDREN_END_SECONDS = 3.5
END_SECONDS = 4.5
# Pages under development on this machine may call the API; `serve` lets nobody in by default.
LOCAL_ORIGINS = tuple(f"http://{host}:{port}" for host in ("localhost", "127.0.0.1") for port in (3000, 8000))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asked for."""

    host: str
    port: int | None
    demo: bool
    ready_file: Path | None


class StopRequested(BaseException):
    """A signal asked to stop while something was still starting."""


class House:
    """One house over a locked data folder. ``run`` returns when it was asked to stop and everything has ended."""

    def __init__(self, folder: DataFolder, settings: Settings, wanted: Wanted, steps: Steps) -> None:
        self.folder = folder
        self.settings = settings
        self.wanted = wanted
        self.steps = steps
        self.secrets = ensure_secrets(folder, settings)
        self.database = EmbeddedPostgres(folder) if settings.database_url is None else None
        self.children: list[Child] = []
        self.admin: dict[str, Any] = {}
        self.url = ""
        self._addresses: tuple[str, str] = ("", "")
        self._worker_port = settings.worker_metrics_port
        self._stopping = False
        self._starting = True
        self._pings_missed = 0
        self._demo: Child | None = None

    def run(self) -> None:
        """Start everything, watch it, and end it all within five seconds of the signal."""
        with woken_by_signals(self._on_signal) as wakeup:
            try:
                self._start()
                self._starting = False
                self._watch(wakeup)
            except StopRequested:
                pass
            finally:
                self._starting = False
                self._stop()

    # Starting

    def _start(self) -> None:
        begun = time.monotonic()
        (self.folder.path / "log").mkdir(mode=0o700, exist_ok=True)
        self._remove_ready_files()
        end_leftovers(self.folder)
        with open_listener(self.wanted.host, self.wanted.port) as listener:
            self.url = url_of(listener)
            self._worker_port = self._free_worker_port()
            self._remember_state(worker_port=self._worker_port)
            self._start_database()
            self._prepare()
            # The socket stays open here: while a killed server comes back, callers wait instead of being refused.
            kept = listener.dup()
        api = self._child("serve", ["--descriptor", str(kept.fileno()), "--grace-seconds", "2"], kept)
        self.children = [api]
        with self.steps.step("Start the API"):
            api.start()
            remember(self.folder, self.children)
            self._wait_until_ready()
        self._start_beside(
            "work"
        )  # only now: loading both at once makes the API wait for its half of the cores
        self._announce(time.monotonic() - begun)
        if self.wanted.demo:
            self._demo = self._child("demo", [])
            self._demo.start()

    def _start_beside(self, name: str) -> None:
        child = self._child(name, [])
        child.start()
        self.children.append(child)
        remember(self.folder, self.children)

    def _start_database(self) -> None:
        if self.database is None:
            url = self.settings.database_url
            owner = self.settings.database_owner_url or url
            self._addresses = (
                url.get_secret_value() if url else "",
                owner.get_secret_value() if owner else "",
            )
            return
        with self.steps.step(f"Start PostgreSQL {self.database.version}"):
            self.database.start()
        self._addresses = (self.database.login_url, self.database.owner_url)

    def _prepare(self, *, force: bool = False) -> None:
        """Migrate and ensure the admin key; skipped when our own database has seen this very schema before."""
        stamp = fingerprint()
        self.admin = self.folder.read(ADMIN_FILE)
        known = self.folder.read(STATE_FILE).get("prepared") == stamp and "admin_key" in self.admin
        if self.database is not None and not self.database.was_created and known and not force:
            return
        with self.steps.step("Bring the database schema up to date"):
            done = subprocess.run(
                [sys.executable, "-m", "guardhouse.cli.prepare"],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                start_new_session=True,
            )
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or ["it said nothing."]
            if len(said) > 1:  # not a sentence of ours but a fault
                write_private(self.folder.path / "log" / "prepare.log", done.stderr)
                raise StartError(
                    f"The database could not be prepared: {said[-1]} (log: {self.folder.path / 'log' / 'prepare.log'})"
                )
            raise StartError(said[0])
        self.admin = json.loads(done.stdout)
        self.folder.write(ADMIN_FILE, {name: self.admin[name] for name in ("tenant", "admin_key")})
        self._remember_state(prepared=stamp)

    def _remember_state(self, **changes: object) -> None:
        self.folder.write(STATE_FILE, self.folder.read(STATE_FILE) | changes)

    def _child(self, name: str, options: list[str], listener: socket.socket | None = None) -> Child:
        return Child(
            name=name,
            command=[sys.executable, "-m", "guardhouse.cli.main", name, *options],
            environment=self._environment,
            log=self.folder.path / "log" / f"{name}.log",
            descriptors=(listener.fileno(),) if listener else (),
            keeps=(listener,) if listener else (),
        )

    def _environment(self) -> dict[str, str]:
        """Return the environment of our processes; secrets never stand on a command line."""
        ours = {
            "DATA_DIR": str(self.folder.path),
            "DATABASE_URL": self._addresses[0],
            "DATABASE_OWNER_URL": self._addresses[1],
            "WORKER_METRICS_PORT": str(self._worker_port),
            **{name.upper(): value for name, value in self.secrets.items()},
        }
        if "public_url" not in self.settings.model_fields_set:
            ours["PUBLIC_URL"] = self.url
        if "cors_origins" not in self.settings.model_fields_set:
            ours["CORS_ORIGINS"] = ",".join(LOCAL_ORIGINS)
        if "self_top_up" not in self.settings.model_fields_set:
            ours["SELF_TOP_UP"] = "1"  # whoever starts it here is its owner
        return {**os.environ, **{PREFIX + name: value for name, value in ours.items()}}

    def _free_worker_port(self) -> int:
        port = self.settings.worker_metrics_port
        if port == 0 or "worker_metrics_port" in self.settings.model_fields_set:
            return port
        for candidate in range(port, port + 100):
            with contextlib.suppress(StartError), open_listener("127.0.0.1", candidate):
                return candidate
        return 0

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        behind = False
        while reasons := ask(self.url, 5.0):
            if "database: migrations_pending" in reasons and not behind:
                behind = True  # the database was put back to an older state than the folder remembers
                self._prepare(force=True)
            for child in self.children:
                if child.pid is None:
                    raise StartError(child.reason())
            if time.monotonic() > deadline:
                raise StartError(
                    f"The API was not ready within {READY_SECONDS:.0f} s ({', '.join(reasons)}): "
                    f"see {self.folder.path / 'log'}."
                )
            time.sleep(0.05)

    def _announce(self, seconds: float) -> None:
        ready = {
            "url": self.url,
            "admin_key": self.admin["admin_key"],
            "tenant": self.admin["tenant"],
            "data_dir": str(self.folder.path),
            "pid": os.getpid(),
        }
        self.folder.write(READY_FILE, ready)
        if self.wanted.ready_file is not None:
            try:
                write_private(self.wanted.ready_file, json.dumps(ready) + "\n")
            except OSError as error:
                raise StartError(
                    f"The ready file {self.wanted.ready_file} cannot be written: {error}."
                ) from error
        asked = self.wanted.port is None and not self.url.endswith(":8000")
        self.steps.block(closing_block(ready, self._database_folder(), seconds, taken=asked), ready)

    def _database_folder(self) -> Path | None:
        return self.database.home if self.database else None

    # Watching

    def _watch(self, wakeup: socket.socket) -> None:
        next_ping = next_housekeeping = time.monotonic()
        while not self._stopping:
            select.select([wakeup], [], [], TICK_SECONDS)
            with contextlib.suppress(BlockingIOError):
                wakeup.recv(4096)
            now = time.monotonic()
            if self._demo is not None and self._demo.pid is None:
                self._demo = None  # it did its part; asking for its pid has reaped it
            if self.database is not None and (self.database.has_exited() or now >= next_ping):
                self._watch_database()
                next_ping = now + PING_EVERY_SECONDS
            before = [child.pid for child in self.children]
            for child in self.children:
                said = child.revive()
                if said:
                    self.steps.note(said)
            if before != [child.pid for child in self.children]:
                remember(self.folder, self.children)
            if now >= next_housekeeping:
                next_housekeeping = now + HOUSEKEEPING_SECONDS
                for child in [*self.children, *([self._demo] if self._demo else [])]:
                    child.trim_log()

    def _watch_database(self) -> None:
        if self.database is None:
            return
        if self.database.has_exited():
            self._restart_database("PostgreSQL ended")
        elif self.database.answers():
            self._pings_missed = 0
        else:
            self._pings_missed += 1
            if self._pings_missed >= PINGS_MISSED:
                self._restart_database("PostgreSQL does not answer")

    def _restart_database(self, why: str) -> None:
        if self.database is None:
            return
        self.steps.note(f"{why}; it starts again (logs: {self.database.home / 'log'})")
        self._pings_missed = 0
        try:
            self.database.stop(fast_seconds=1.0)
            self.database.start()
        except StartError as error:
            self.steps.note(f"{error} The next try is in {PING_EVERY_SECONDS:.0f} s.")
            self._interruptible_pause(PING_EVERY_SECONDS)
            return
        addresses = (self.database.login_url, self.database.owner_url)
        if addresses != self._addresses:  # its port was taken meanwhile
            self._addresses = addresses
            for child in self.children:
                child.ask_to_end()

    def _interruptible_pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < until:
            time.sleep(0.1)

    # Stopping

    def _on_signal(self) -> None:
        self._stopping = True
        if self._starting:
            raise StopRequested

    def _stop(self) -> None:
        ending = [*self.children, *([self._demo] if self._demo else [])]
        for child in ending:
            child.ask_to_end()
        begun = time.monotonic()
        for child in ending:
            child.end(max(0.0, begun + CHILDREN_END_SECONDS - time.monotonic()))
        if self.database is not None:
            self.database.stop(fast_seconds=max(0.5, begun + END_SECONDS - time.monotonic()))
        self._remove_ready_files()
        remember(self.folder, [])

    def _remove_ready_files(self) -> None:
        (self.folder.path / READY_FILE).unlink(missing_ok=True)
        if self.wanted.ready_file is not None:
            self.wanted.ready_file.unlink(missing_ok=True)
