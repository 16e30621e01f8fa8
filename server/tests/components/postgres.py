"""One PostgreSQL for a whole test run, shared by its pytest processes, gone when the last of them is gone.

The first process that needs it starts a keeper: this file as a program. The keeper starts the embedded server
(or uses the one of ``GUARDHOUSE_TEST_DATABASE_URL``), migrates a template database once, says where it is in
``server.json``, and waits for an exclusive lock on ``users.lock``. Every user holds that lock shared, so the
kernel tells the keeper about the last one leaving, even one that was killed. Each worker clones the template.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from guardhouse.foundation import migrate
from guardhouse.foundation.data_folder import DataFolder
from guardhouse.foundation.embedded_postgres import EmbeddedPostgres
from guardhouse.foundation.postgres_roles import Login, role_statements

EXTERNAL = "GUARDHOUSE_TEST_DATABASE_URL"
START_SECONDS = 90.0
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "300"}
REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: where a superuser connects, the two logins, and the prefix of this run's databases."""

    superuser_url: str
    owner: str
    login: str
    password: str
    prefix: str

    @property
    def template(self) -> str:
        """The migrated database that is cloned and never connected to."""
        return f"{self.prefix}_template"

    def url(self, database: str, user: str | None = None) -> str:
        """Return the address of ``database`` for a login, or for the superuser, without a driver's name."""
        parts = urlsplit(self.superuser_url)
        network = parts.netloc
        if user:
            network = f"{user}:{quote(self.password)}@{network.rpartition('@')[2]}"
        return urlunsplit((parts.scheme, network, f"/{database}", parts.query, ""))


@dataclass(frozen=True, slots=True)
class Clone:
    """One worker's own database, migrated."""

    server: Server
    name: str

    @property
    def database_url(self) -> str:
        """Where the server and the worker of the product connect."""
        return _with_driver(self.server.url(self.name, self.server.login))

    @property
    def owner_url(self) -> str:
        """Where migrations connect."""
        return _with_driver(self.server.url(self.name, self.server.owner))

    @property
    def superuser_url(self) -> str:
        """Where cleaning connects, and a test that must see behind the walls; asyncpg's own spelling."""
        return self.server.url(self.name)


# What the pytest processes call.


@contextlib.contextmanager
def shared_server(folder: Path) -> Iterator[Server]:
    """Yield the run's server, starting it when nobody did; ``folder`` is the same for all workers of a run."""
    with (folder / "users.lock").open("a") as users:
        yield _join(folder, users.fileno())


@contextlib.contextmanager
def clone(server: Server, worker: str) -> Iterator[Clone]:
    """Yield a fresh copy of the template and drop it afterwards."""
    name = f"{server.prefix}_{worker}"
    asyncio.run(_execute(server.superuser_url, f"CREATE DATABASE {name} TEMPLATE {server.template}"))
    try:
        yield Clone(server, name)
    finally:
        asyncio.run(_execute(server.superuser_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


def _join(folder: Path, users: int) -> Server:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with (folder / "start.lock").open("a") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            # Refused only while a keeper that saw its last user go is closing down.
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return _read_or_start(folder)
        time.sleep(0.05)
    raise RuntimeError(
        f"the test database did not come within {START_SECONDS:.0f} s: see {folder}/keeper.log"
    )


def _read_or_start(folder: Path) -> Server:
    said = folder / "server.json"
    if not said.exists():
        with (folder / "keeper.log").open("ab") as log:
            keeper = subprocess.Popen(
                [sys.executable, "-m", "server.tests.components.postgres", str(folder)],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl+C ends the tests; the keeper then ends by itself
            )
        deadline = time.monotonic() + START_SECONDS
        while not said.exists():
            if keeper.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no test database:\n{(folder / 'keeper.log').read_text()[-2000:]}")
            time.sleep(0.02)
        keeper.returncode = 0  # it outlives this process on purpose; without this, a ResourceWarning
    return Server(**json.loads(said.read_text()))


# What the keeper does.


def keep(folder: Path) -> None:
    """Start or find the server, make the template, announce it, and clear away when the last user has gone."""
    external = os.environ.get(EXTERNAL)
    with _external(external) if external else _embedded() as server:
        _make_template(server)
        draft = folder / ".server.json"
        draft.write_text(json.dumps(asdict(server)))
        draft.replace(folder / "server.json")
        with (folder / "users.lock").open("a") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            (folder / "server.json").unlink()
            if external:
                asyncio.run(_drop_everything(server))


@contextlib.contextmanager
def _embedded() -> Iterator[Server]:
    place = Path(tempfile.mkdtemp(prefix="guardhouse-tests-"))
    place.chmod(0o711)
    try:
        with DataFolder.open(place) as data, EmbeddedPostgres(data, settings=FAST) as postgres:
            password = secrets.token_hex(16)
            # The product's own logins, under names that the external server can also give to several runs.
            server = Server(postgres.superuser_url.replace("+asyncpg", ""), "", "", password, "tests")
            yield _with_logins(server)
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def _external(url: str) -> Iterator[Server]:
    plain = url.replace("+asyncpg", "", 1)
    server = Server(plain, "", "", secrets.token_hex(16), f"ght_{secrets.token_hex(4)}")
    yield _with_logins(server)


def _with_logins(server: Server) -> Server:
    """Return ``server`` with two logins of this run alone; the roles they become belong to the whole server."""
    named = Server(
        server.superuser_url,
        f"{server.prefix}_owner",
        f"{server.prefix}_login",
        server.password,
        server.prefix,
    )
    owner, login = (Login(name, named.password) for name in (named.owner, named.login))
    asyncio.run(
        _execute(
            named.superuser_url,
            "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'guardhouse_owner') "
            "THEN CREATE ROLE guardhouse_owner NOLOGIN; END IF; "
            "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
            *role_statements(owner, login),
            f"GRANT guardhouse_owner TO {owner.name}",
        )
    )
    return named


def _make_template(server: Server) -> None:
    create = f"CREATE DATABASE {server.template} OWNER {server.owner} TEMPLATE template0"
    asyncio.run(_execute(server.superuser_url, create))
    migrate.upgrade(server.url(server.template, server.owner))
    asyncio.run(_execute(server.url(server.template), CLEANING))


async def _drop_everything(server: Server) -> None:
    connection = await asyncpg.connect(server.superuser_url)
    try:
        pattern = server.prefix.replace("_", r"\_") + r"\_%"
        for row in await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE $1", pattern):
            await connection.execute(f"DROP DATABASE IF EXISTS {row['datname']} WITH (FORCE)")
        for role in (server.owner, server.login):
            await connection.execute(f"DROP ROLE IF EXISTS {role}")
    finally:
        await connection.close()


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def _with_driver(url: str) -> str:
    return "postgresql+asyncpg://" + url.partition("://")[2]


# Empties every table that holds rows and puts back what migrations had put there. Deleting a few rows is
# tenfold faster than TRUNCATE, which makes new files; large tables are truncated. Triggers and foreign keys
# rest meanwhile, so that tables that refuse deletion can be cleaned too.
CLEANING = """
CREATE SCHEMA testing;

DO $$
DECLARE name text; filled boolean;
BEGIN
  FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
      AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'alembic_version' LOOP
    EXECUTE format('SELECT EXISTS (SELECT FROM public.%I)', name) INTO filled;
    IF filled THEN
      EXECUTE format('CREATE TABLE testing.%I AS TABLE public.%I', name, name);
    END IF;
  END LOOP;
END $$;

CREATE FUNCTION testing.clean() RETURNS void LANGUAGE plpgsql AS $$
DECLARE name text; found bigint; columns text;
BEGIN
  PERFORM set_config('session_replication_role', 'replica', true), set_config('lock_timeout', '5s', true);
  FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
      AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'alembic_version' LOOP
    EXECUTE format('SELECT count(*) FROM (SELECT FROM public.%I LIMIT 1001) AS few', name) INTO found;
    IF found > 1000 THEN
      BEGIN
        EXECUTE format('TRUNCATE public.%I', name);
      EXCEPTION WHEN feature_not_supported THEN
        EXECUTE format('DELETE FROM public.%I', name);
      END;
    ELSIF found > 0 THEN
      EXECUTE format('DELETE FROM public.%I', name);
    END IF;
    IF to_regclass(format('testing.%I', name)) IS NOT NULL THEN
      SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO columns FROM pg_attribute
        WHERE attrelid = format('public.%I', name)::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
      EXECUTE format('INSERT INTO public.%1$I (%2$s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM testing.%1$I',
                     name, columns);
    END IF;
  END LOOP;
END $$;
"""

if __name__ == "__main__":
    keep(Path(sys.argv[1]))
