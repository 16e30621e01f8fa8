"""The commands beside ``up``, each as a process on a database of its own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from guardhouse.cli import main
from guardhouse.cli.local_settings import new_secrets
from server.tests.cli.house_process import COMMAND, RunningHouse, clean_environment, run, wait_for
from server.tests.components.postgres import Clone

SECRETS = new_secrets()


@pytest.fixture
def settings(database: Clone, tmp_path: Path) -> dict[str, str]:
    """Return what production would set."""
    return {
        "GUARDHOUSE_DATABASE_URL": database.database_url,
        "GUARDHOUSE_DATABASE_OWNER_URL": database.owner_url,
        "GUARDHOUSE_DATA_DIR": str(tmp_path),
        "GUARDHOUSE_WORKER_METRICS_PORT": "0",
        **{f"GUARDHOUSE_{name.upper()}": value for name, value in SECRETS.items()},
    }


@pytest.fixture
def port() -> int:
    with socket.socket() as candidate:
        candidate.bind(("127.0.0.1", 0))
        return int(candidate.getsockname()[1])


@pytest.fixture
def served(settings: dict[str, str], port: int, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (tmp_path / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [*COMMAND, "serve", "--port", str(port), "--grace-seconds", "3"],
            env=clean_environment(**settings),
            stdout=log,
            stderr=log,
        )
        try:
            wait_for(lambda: ask(port, "/readyz")[0] == 200 or process.poll() is not None, 60, "readiness")
            assert process.poll() is None, (tmp_path / "serve.log").read_text()
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


Called = subprocess.CompletedProcess[str]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    """Return a function that runs a command inside this process: starting one takes a second or two."""

    def run_here(*arguments: str, **given: str) -> Called:
        environment = clean_environment(**given)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["guardhouse", *arguments])
            patch.setattr(os, "environ", environment)
            with pytest.raises(SystemExit) as ended:
                main.run()
        said = capsys.readouterr()
        return Called(arguments, int(ended.value.code or 0), said.out, said.err)

    return run_here


def ask(port: int, path: str) -> tuple[int, dict[str, str]]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    except OSError:
        return 0, {}
    finally:
        connection.close()


def test_a_login_link_signs_a_browser_in_once(
    call: Callable[..., Called], settings: dict[str, str], served: subprocess.Popen[bytes], port: int
) -> None:
    assert served.poll() is None
    settings = settings | {"GUARDHOUSE_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    call("keys", "create", "--tenant", "acme", "--new-tenant", **settings)
    made = call("keys", "login-link", "--tenant", "acme", "--role", "viewer", **settings)
    assert made.returncode == 0, made.stderr
    url = made.stdout.strip()
    assert url.startswith(f"http://127.0.0.1:{port}/auth/link?token=ghl_")
    target = url.partition(str(port))[2]
    assert ask(port, target)[0] == 303
    assert ask(port, target)[0] == 410
    wrong = call("keys", "login-link", "--tenant", "acme", "--role", "platform", **settings)
    assert wrong.returncode == 1
    assert "no role platform for people" in wrong.stderr


def test_keys_are_made_listed_and_revoked(call: Callable[..., Called], settings: dict[str, str]) -> None:
    missing = call("keys", "create", "--tenant", "acme", **settings)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert re.fullmatch(r"guardhouse: There is no tenant acme \(known: none yet\); [^\n]*\n", missing.stderr)
    made = call("keys", "create", "--tenant", "acme", "--new-tenant", "--name", "first", **settings)
    assert made.returncode == 0, made.stderr
    assert re.fullmatch(r"gh_live_\w+\n", made.stdout)
    listed = call("keys", "list", "--tenant", "acme", **settings)
    assert len(listed.stdout.splitlines()) == 1
    assert "first" in listed.stdout
    assert made.stdout.strip() not in listed.stdout
    key_id = listed.stdout.split()[0]
    assert call("keys", "revoke", key_id, "--tenant", "acme", **settings).returncode == 0
    assert "revoked" in call("keys", "list", "--tenant", "acme", **settings).stdout
    wrong = call("keys", "create", "--tenant", "acme", "--role", "emperor", **settings)
    assert wrong.returncode == 1
    assert re.fullmatch(r"guardhouse: There is no role emperor: use one of [^\n]*\n", wrong.stderr)


def test_migrate_says_where_the_schema_stands(
    call: Callable[..., Called], settings: dict[str, str], database: Clone
) -> None:
    at_head = call("migrate", "--check", **settings)
    assert at_head.returncode == 0
    assert "the newest version" in at_head.stdout
    sql = call("migrate", "--sql")
    assert sql.returncode == 0
    assert "CREATE TABLE tenants" in sql.stdout
    nowhere = call("migrate", "--to", "nothing-like-it", **settings)
    assert nowhere.returncode == 1
    assert re.fullmatch(
        r"guardhouse: There is no way to the version nothing-like-it: [^\n]*\n", nowhere.stderr
    )
    refused = call("migrate", **{**settings, "GUARDHOUSE_DATABASE_OWNER_URL": f"{database.owner_url}_absent"})
    assert refused.returncode == 1
    assert re.fullmatch(r"guardhouse: PostgreSQL at [^\n]* has no database [^\n]*\n", refused.stderr)


def test_doctor_finds_nothing_wrong_where_nothing_is(
    call: Callable[..., Called], settings: dict[str, str]
) -> None:
    done = call("doctor", "--json", **settings)
    findings = {one["what"]: one for one in json.loads(done.stdout)["findings"]}
    assert done.returncode < 2, [one for one in findings.values() if one["mark"] == "failure"]
    assert findings["Migrations"]["mark"] == "good"
    assert findings["Objects"]["mark"] == "good"
    assert findings["Roles"]["mark"] == "good"
    assert findings["GUARDHOUSE_DATABASE_URL"]["found"] == "(secret) (environment)"
    assert not [secret for secret in SECRETS.values() if secret in done.stdout]


def test_doctor_names_each_fault_with_a_remedy(
    call: Callable[..., Called], settings: dict[str, str], tmp_path: Path
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    faults = {
        "GUARDHOUSE_WORKER_LANE": "64",
        "GUARDHOUSE_OBJECTS_URL": f"file://{in_the_way}/objects",
        "GUARDHOUSE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    }
    done = call("doctor", **{**settings, **faults})
    assert done.returncode == 2
    assert "! GUARDHOUSE_WORKER_LANE: is no setting" in done.stdout
    assert "Did you mean GUARDHOUSE_WORKER_LANES?" in done.stdout
    assert "✗ PostgreSQL: cannot be used" in done.stdout
    assert "✗ Objects: " in done.stdout
    marks = re.findall(r"^  [!✗] .*\n(.*)$", done.stdout, re.MULTILINE)
    assert marks
    assert all(line.startswith("      → ") for line in marks)


def test_openapi_is_the_same_twice_and_needs_no_database(call: Callable[..., Called], tmp_path: Path) -> None:
    out = tmp_path / "openapi.json"
    assert call("openapi", "--out", str(out)).returncode == 0
    printed = call("openapi").stdout
    assert out.read_text(encoding="utf-8") == printed
    assert "/api/v1/me" in json.loads(printed)["paths"]


def test_healthcheck_tells_ready_from_not(house: RunningHouse, port: int) -> None:
    up = run("healthcheck", GUARDHOUSE_DATA_DIR=str(house.data_dir))
    assert (up.returncode, up.stdout) == (0, f"{house.ready['url']} is ready.\n")
    down = run("healthcheck", "--url", f"http://127.0.0.1:{port}")
    assert down.returncode == 1
    assert re.fullmatch(r"guardhouse: http://\S+ is not ready: [^\n]*\n", down.stderr)


def test_the_demo_arrives_through_the_public_doors(house: RunningHouse) -> None:
    done = run("demo", GUARDHOUSE_DATA_DIR=str(house.data_dir))
    assert done.returncode == 0, done.stderr
    status, agents = house.get("/api/v1/agents")
    assert status == 200
    sample = [agent for agent in agents["data"] if agent["metadata"] == {"sample": True}]
    assert len(sample) == 1
    wait_for(
        lambda: house.get(f"/api/v1/agents/{sample[0]['id']}")[1]["events"] > 0, 20, "events of the sample"
    )


def test_without_a_database_the_sentence_says_how_to_get_one(
    call: Callable[..., Called], tmp_path: Path
) -> None:
    for command in (["serve", "--port", "0"], ["work"], ["migrate"], ["keys", "list"]):
        done = call(*command, GUARDHOUSE_DATA_DIR=str(tmp_path / "none"))
        assert done.returncode == 1
        assert re.fullmatch(r"guardhouse: [^\n]*guardhouse up[^\n]*\n", done.stderr), done.stderr


def test_a_drained_server_exits_with_0_and_shows_no_server_header(
    served: subprocess.Popen[bytes], port: int
) -> None:
    status, headers = ask(port, "/healthz")
    assert status == 200
    assert "server" not in headers
    kept = HTTPConnection("127.0.0.1", port)  # an idle keep-alive connection must not hold it up
    kept.request("GET", "/healthz")
    kept.getresponse().read()
    begun = time.monotonic()
    served.send_signal(signal.SIGTERM)
    assert served.wait(10) == 0
    assert time.monotonic() - begun < 3
    kept.close()


def test_a_worker_ends_with_0(settings: dict[str, str], tmp_path: Path) -> None:
    said = tmp_path / "work.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            [*COMMAND, "work"], env=clean_environment(**settings), stdout=log, stderr=log
        )
    try:
        wait_for(lambda: "worker_started" in said.read_text() or process.poll() is not None, 60, "the worker")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, said.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_help_lists_every_command_and_a_typo_is_told(call: Callable[..., Called]) -> None:
    said = call("--help").stdout
    for name in main.COMMANDS:
        assert re.search(rf"^\W*{name}\b", said, re.MULTILINE), name
    assert call("upp").returncode == 2


def test_starting_stays_light() -> None:
    code = "import sys, guardhouse.cli.main, guardhouse.cli.up; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = [
        name for name in ("sqlalchemy", "fastapi", "alembic", "uvicorn", "numpy") if f"'{name}'" in loaded
    ]
    assert not heavy, "the supervisor loads what only its children need"


def test_commands_of_other_distributions_are_found_by_name() -> None:
    done = run("watch", "--help")
    assert done.returncode == 0, done.stderr
    assert "--all-calls" in done.stdout
    assert main.find_extension("nothing") is None
