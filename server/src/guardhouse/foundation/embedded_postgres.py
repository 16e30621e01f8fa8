"""The database that comes with the house: made, started, watched and stopped by us from plain binaries.

It answers on loopback and on a private socket only, asks every login for its password, writes durably, and
ends with the process that started it; whatever a crash leaves behind is cleared or recovered at the next start.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from guardhouse.foundation import bound_process, postgres_probe
from guardhouse.foundation.bound_process import Launch
from guardhouse.foundation.data_folder import DataFolder, folder_sentence
from guardhouse.foundation.postgres_log import START_LOG, PostgresLog
from guardhouse.foundation.postgres_place import (
    choose_home,
    find_binaries,
    make_home,
    unprivileged_account,
)
from guardhouse.foundation.postgres_probe import Answer
from guardhouse.foundation.postgres_record import (
    DATABASE,
    FILE,
    LOGIN,
    OWNER,
    SUPERUSER,
    Record,
    new_record,
    read_record,
    save_record,
)
from guardhouse.foundation.postgres_roles import Login, database_statements, role_statements, scram_verifier
from guardhouse.foundation.postgres_settings import HOST, INCLUDE, SETTINGS, SETTINGS_FILE, render
from guardhouse.foundation.start_error import StartError

_PORTS = range(15432, 25432)  # below the range from which systems lend ports to outgoing connections
_SOCKET_PATH_LIMIT = 90  # the shortest system limit is 104 bytes, socket name included
_BUILTIN_LOCALE_SINCE = 17
_START_TRIES = 5
_LAST_WORDS_SECONDS = 0.2  # its log collector outlives it for a moment
_LEFTOVER_STEPS = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))


class EmbeddedPostgres:
    """One PostgreSQL cluster of one locked data folder.

    ``start`` may be called again after the server died. Call it from a thread that outlives the server
    (``foundation.bound_process``). ``settings`` override those of ``foundation.postgres_settings``; tests turn
    durability off with them. ``was_created`` tells after ``start`` whether it made a new cluster.
    """

    def __init__(
        self,
        folder: DataFolder,
        *,
        bin_dir: Path | None = None,
        settings: Mapping[str, str] | None = None,
        start_timeout_seconds: float = 120.0,
    ) -> None:
        self._folder = folder
        self._account = unprivileged_account()
        self._binaries = find_binaries(bin_dir, self._account)
        self._settings = {**SETTINGS, **(settings or {})}
        self._start_timeout_seconds = start_timeout_seconds
        self._known: Record | None = None
        self._said: PostgresLog | None = None
        self.was_created = False
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_dir: Path | None = None

    @property
    def home(self) -> Path:
        """The cluster's folder: ``data``, ``log`` and ``run`` inside."""
        return Path(self._record.home)

    @property
    def version(self) -> str:
        """PostgreSQL's version, such as ``18.6``."""
        return self._binaries.version

    @property
    def port(self) -> int:
        """The loopback port; kept over restarts while it is free."""
        return self._record.port

    @property
    def pid(self) -> int | None:
        """The process id of the running server."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def owner_url(self) -> str:
        """Where migrations connect."""
        return self._record.owner_url

    @property
    def login_url(self) -> str:
        """Where server and worker connect."""
        return self._record.login_url

    @property
    def superuser_url(self) -> str:
        """Where backups and tests connect; nothing of the product does."""
        return self._record.url(SUPERUSER, "postgres")

    def start(self) -> None:
        """Make the cluster on first use, start the server and return when it takes connections."""
        self._load_record()
        make_home(self.home, self._account)
        self._end_leftover()
        if not (self._data / "PG_VERSION").exists():
            self._create_cluster()
        self._check_major()
        self._choose_socket_dir()
        for _ in range(_START_TRIES):
            if not postgres_probe.is_free(self.port):
                self._save(replace(self._record, port=_free_port()))
            self._write_settings()
            if self._launch():
                break
        else:
            raise StartError(f"No loopback port was free for PostgreSQL after {_START_TRIES} tries.")
        if not self._record.roles_made:
            self._create_roles()
            self._save(replace(self._record, roles_made=True))

    def stop(self, *, fast_seconds: float = 10.0) -> None:
        """Stop the server: its sessions end and it writes a checkpoint, or after ``fast_seconds`` it just ends.

        In the second case the next start replays the log; nothing that was committed is lost.
        """
        if self._process is not None:
            bound_process.end_in_steps(
                self._process,
                ((signal.SIGINT, fast_seconds), (signal.SIGQUIT, 1.0), (signal.SIGKILL, 5.0)),
            )
            self._process = None
        if self._socket_dir and self._socket_dir.parent != self.home:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
        self._socket_dir = None

    def is_alive(self) -> bool:
        """Tell whether our own server takes a new connection."""
        return self.pid is not None and postgres_probe.ask(HOST, self.port) is Answer.READY

    def answers(self) -> bool:
        """Tell whether our own server says anything, even that it is recovering."""
        return self.pid is not None and postgres_probe.ask(HOST, self.port) is not Answer.SILENT

    def has_exited(self) -> bool:
        """Tell whether the server's process ended; cheap, and no proof of life when False."""
        return self.pid is None

    def run_sql(self, statements: list[str], *, database: str = "postgres") -> None:
        """Run statements as superuser, each in a transaction of its own."""
        self._psql(statements, database)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _log(self) -> PostgresLog:
        if self._said is None or self._said.folder != self.home / "log":
            self._said = PostgresLog(self.home / "log")
        return self._said

    @property
    def _data(self) -> Path:
        return self.home / "data"

    @property
    def _record(self) -> Record:
        if self._known is None:
            raise RuntimeError("the cluster is known after start()")
        return self._known

    def _load_record(self) -> None:
        self._known = read_record(self._folder.path)
        if self._known is None:
            home = choose_home(self._folder.path, self._account)
            if (home / "data" / "PG_VERSION").exists():
                raise StartError(
                    f"{home} holds a database but {self._folder.path / FILE} with its passwords is gone: "
                    "restore that file, or move the folder away to begin anew."
                )
            self._save(new_record(home, _free_port()))

    def _save(self, record: Record) -> None:
        save_record(self._folder, record)
        self._known = record

    def _choose_socket_dir(self) -> None:
        if self._socket_dir is not None:
            return
        self._socket_dir = self.home / "run"
        if len(os.fsencode(self._socket_dir)) > _SOCKET_PATH_LIMIT:
            self._socket_dir = Path(tempfile.mkdtemp(prefix="guardhouse-", dir="/tmp"))
            if self._account:
                os.chown(self._socket_dir, self._account.uid, self._account.gid)

    def _end_leftover(self) -> None:
        """End what a killed predecessor left on this cluster; its server may still be writing."""
        pid_file = self._data / "postmaster.pid"
        if not pid_file.exists():
            return
        for process in list(bound_process.processes_in(self._data, "postgres")):
            if bound_process.end_in_steps(process, _LEFTOVER_STEPS) is None and bound_process.is_running(
                process
            ):
                raise StartError(
                    f"Process {process.pid} still works on {self._data} and does not end: kill it first."
                )
        # Nobody works here any more. PostgreSQL would still wait for ever for a stranger, or for a zombie that
        # nobody reaps, with the process id in its lock files.
        with contextlib.suppress(FileNotFoundError, ValueError):  # it removed its file when it ended
            if bound_process.pid_exists(_first_number(pid_file)):
                pid_file.unlink(missing_ok=True)
        for lock in (self.home / "run").glob(".s.PGSQL.*"):
            lock.unlink(missing_ok=True)

    def _create_cluster(self) -> None:
        draft, password_file = self.home / "data.new", self.home / "password"
        shutil.rmtree(draft, ignore_errors=True)
        try:
            password_file.write_text(scram_verifier(self._record.passwords[SUPERUSER]), encoding="ascii")
            password_file.chmod(0o600)
            if self._account:
                os.chown(password_file, self._account.uid, self._account.gid)
            self._run_to_end("initdb", self._initdb_options(draft, password_file))
            with (draft / "postgresql.conf").open("a", encoding="utf-8") as file:
                file.write(INCLUDE)
            draft.rename(self._data)
            self._save(replace(self._record, roles_made=False))
            self.was_created = True
        except OSError as error:
            raise StartError(folder_sentence(self.home, error)) from error
        finally:
            password_file.unlink(missing_ok=True)

    def _initdb_options(self, draft: Path, password_file: Path) -> list[str]:
        modern = self._binaries.major >= _BUILTIN_LOCALE_SINCE
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if modern else []
        return [
            f"--pgdata={draft}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            *locale,
            "--no-instructions",
            "--data-checksums",
            *(["--no-sync"] if self._settings["fsync"] == "off" else []),
        ]

    def _check_major(self) -> None:
        major = _first_number(self._data / "PG_VERSION")
        if major != self._binaries.major:
            raise StartError(
                f"{self._data} was made by PostgreSQL {major} and the binaries are {self._binaries.version}: "
                "back up with the old version and restore with the new one."
            )

    def _write_settings(self) -> None:
        settings = {
            **self._settings,
            "port": str(self.port),
            "unix_socket_directories": str(self._socket_dir),
            "log_directory": str(self.home / "log"),
        }
        path = self._data / SETTINGS_FILE
        try:
            path.write_text(render(settings), encoding="utf-8")
            if self._account:
                os.chown(path, self._account.uid, self._account.gid)
        except OSError as error:
            raise StartError(folder_sentence(path, error)) from error

    def _launch(self) -> bool:
        """Start the server; False when its port was taken in the meantime."""
        self._log.mark()
        with (self._log.folder / START_LOG).open("wb") as output:
            self._process = bound_process.start_bound(
                self._bound("postgres", ["-D", str(self._data)], output=output)
            )
        deadline = time.monotonic() + self._start_timeout_seconds
        while True:
            if self._process.poll() is not None:
                self._process = None
                time.sleep(_LAST_WORDS_SECONDS)
                if self._log.port_was_taken():
                    return False
                raise StartError(self._sentence("start", self._log.new_lines()))
            if self._says_ready() and postgres_probe.ask(HOST, self.port) is Answer.READY:
                return True
            if time.monotonic() > deadline:
                self.stop(fast_seconds=2.0)
                raise StartError(
                    f"PostgreSQL was not ready within {self._start_timeout_seconds:.0f} s: see {self.home / 'log'}."
                )
            time.sleep(0.01)

    def _says_ready(self) -> bool:
        """Tell whether the pid file is our server's and says ready: so no stranger answers on the port."""
        try:
            lines = (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        status_line = 7
        return (
            len(lines) > status_line and lines[0] == str(self.pid) and lines[status_line].strip() == "ready"
        )

    def _create_roles(self) -> None:
        passwords = self._record.passwords
        logins = [Login(name, passwords[name]) for name in (OWNER, LOGIN)]
        self._psql(role_statements(*logins), "postgres")
        self._psql(database_statements(DATABASE, OWNER, LOGIN), "postgres")

    def _psql(self, statements: list[str], database: str) -> None:
        script = "\n".join(line if line.endswith("\\gexec") else f"{line};" for line in statements)
        done = subprocess.run(  # noqa: S603 - psql of our own binaries
            [self._binaries.program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database],
            input=script + "\n",
            capture_output=True,
            text=True,
            check=False,
            env={
                "PGHOST": HOST,
                "PGPORT": str(self.port),
                "PGUSER": SUPERUSER,
                "PGPASSWORD": self._record.passwords[SUPERUSER],
                "PGCONNECT_TIMEOUT": "10",
            },
        )
        if done.returncode != 0:
            raise StartError(self._sentence("prepare its roles", done.stderr.splitlines()))

    def _run_to_end(self, program: str, options: list[str]) -> None:
        name = f"{program}.log"
        with (self._log.folder / name).open("wb") as output:
            process = bound_process.start_bound(self._bound(program, options, output=output))
        if not bound_process.wait_gone(process, self._start_timeout_seconds):
            process.kill()
        if process.wait() != 0:
            raise StartError(self._sentence(f"be created ({program})", self._log.new_lines(name)))

    def _bound(self, program: str, options: list[str], *, output: Any) -> Launch:
        return Launch(
            command=[self._binaries.program(program), *options],
            environment={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            folder=self.home,
            output=output,
            account=self._account,
            death_signal=signal.SIGINT,
        )

    def _sentence(self, action: str, lines: list[str]) -> str:
        user = self._account.name if self._account else "this user"
        return self._log.sentence(action, lines, home=self.home, user=user)


def _free_port() -> int:
    port = next((port for port in random.sample(_PORTS, 50) if postgres_probe.is_free(port)), None)
    if port is None:
        raise StartError("No loopback port is free for PostgreSQL.")
    return port


def _first_number(path: Path) -> int:
    return int(path.read_text(encoding="utf-8").partition("\n")[0])
