"""``guardhouse up`` as a person meets it: real processes, real signals, real faults."""

import contextlib
import http.client
import json
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from guardhouse.foundation import bound_process
from server.tests.cli.house_process import RunningHouse, clean_environment, run, running_house, wait_for
from server.tests.components.postgres import Clone
from server.tests.components.requirements import require, require_program

STOP_SECONDS = 5.0


def free_port() -> int:
    with socket.socket() as candidate:
        candidate.bind(("127.0.0.1", 0))
        return int(candidate.getsockname()[1])


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_first_start_second_start_and_ctrl_c(place: Path) -> None:
    data_dir, ready_file, port = place / "house", place / "said" / "ready.json", free_port()
    ready_file.parent.mkdir()
    with running_house(data_dir, "--port", str(port), "--ready-file", str(ready_file)) as house:
        assert house.ready == {
            "url": f"http://127.0.0.1:{port}",
            "admin_key": house.ready["admin_key"],
            "tenant": "demo",
            "data_dir": str(data_dir),
            "pid": house.process.pid,
        }
        wait_for(ready_file.exists, 5, "the file of --ready-file")
        assert json.loads(ready_file.read_text()) == house.ready
        for path in (ready_file, *(data_dir / name for name in ("ready.json", "admin.json", "secrets.json"))):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        status, me = house.get("/api/v1/me")
        assert (status, me["tenant"]["slug"] if isinstance(me.get("tenant"), dict) else "demo") == (
            200,
            "demo",
        )
        assert house.get("/api/v1/me", key=False)[0] == 401
        key, tree = house.ready["admin_key"], house.all_processes()
        code, seconds = house.end(signal.SIGINT)
        assert code == 0
        assert seconds < STOP_SECONDS
        said = house.process.stdout.read() if house.process.stdout else ""
    assert key in said
    assert "Traceback" not in said
    assert not [process for process in tree if bound_process.is_running(process)]
    assert not (data_dir / "ready.json").exists()
    assert not ready_file.exists()
    with running_house(data_dir, "--port", str(port)) as house:
        assert house.ready["admin_key"] == key
        assert house.get("/api/v1/me")[0] == 200
        code, seconds = house.end(signal.SIGTERM)
        assert code == 0
        assert seconds < STOP_SECONDS


def test_the_printed_curl_works_when_pasted(place: Path) -> None:
    require_program("curl", "apt-get install curl")
    with running_house(place / "house", "--port", "0") as house:
        command = re.search(r"(curl .*)$", house.closing_block(), re.MULTILINE)
        assert command is not None
        done = subprocess.run(shlex.split(command[1]), capture_output=True, text=True, check=True)
        assert "tenant" in json.loads(done.stdout)


@pytest.mark.parametrize("part", ["serve", "work", "postgres"])
def test_kill_9_of_a_part_is_recovered_from(house: RunningHouse, part: str) -> None:
    victim = house.part(part)
    victim.kill()
    wait_for(lambda: not bound_process.is_running(victim), 5, f"the end of {part}")

    def is_back() -> bool:
        found = house.find(part)
        return found is not None and found.pid != victim.pid and house.get("/api/v1/me")[0] == 200

    wait_for(is_back, 30, f"{part} back and the API answering")
    wait_for(lambda: house.get("/readyz")[0] == 200, 10, "readiness")
    assert house.process.poll() is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sends a signal at the parent's death")
def test_kill_9_of_the_supervisor_ends_everything_and_the_next_start_recovers(place: Path) -> None:
    port = free_port()
    with running_house(place / "house", "--port", str(port)) as house:
        key, tree = house.ready["admin_key"], house.all_processes()
        house.process.kill()
        house.process.wait(5)
    with running_house(place / "house", "--port", str(port)) as house:
        assert not [process for process in tree if bound_process.is_running(process)]
        assert house.ready["admin_key"] == key
        assert house.get("/api/v1/me")[0] == 200


def test_a_killed_house_everywhere_at_once_recovers(place: Path) -> None:
    with running_house(place / "house", "--port", "0") as house:
        key = house.ready["admin_key"]
        for process in house.all_processes():
            with contextlib.suppress(psutil.NoSuchProcess):  # a part may end with the one killed before it
                process.kill()
        house.process.wait(5)
    with running_house(place / "house", "--port", "0") as house:
        assert house.ready["admin_key"] == key
        assert house.get("/api/v1/me")[0] == 200


def test_while_the_api_comes_back_callers_wait_and_are_not_refused(house: RunningHouse) -> None:
    house.part("serve").kill()
    assert house.get("/healthz") == (200, b"ok")


def test_pages_of_this_machine_may_call_it_and_no_others(house: RunningHouse) -> None:
    port = int(house.ready["url"].rpartition(":")[2])
    allowed = {}
    for origin in (
        "http://localhost:3000",
        "http://127.0.0.1:8000",
        "http://localhost:3001",
        "https://a.example",
        "null",
    ):
        asked = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        asked.request(
            "OPTIONS", "/api/v1/me", headers={"Origin": origin, "Access-Control-Request-Method": "GET"}
        )
        allowed[origin] = asked.getresponse().getheader("Access-Control-Allow-Origin") == origin
        asked.close()
    assert [origin for origin in allowed if allowed[origin]] == [
        "http://localhost:3000",
        "http://127.0.0.1:8000",
    ]


def test_no_secret_stands_on_a_command_line_or_in_a_log(house: RunningHouse) -> None:
    house.part("work")
    assert house.get("/api/v1/me")[0] == 200
    secrets = [*json.loads((house.data_dir / "secrets.json").read_text()).values(), house.ready["admin_key"]]
    secrets += json.loads((house.data_dir / "postgres.json").read_text())["passwords"].values()
    lines = " ".join(word for process in house.all_processes() for word in process.cmdline())
    logs = "".join(path.read_text() for path in (house.data_dir / "log").iterdir())
    assert len(secrets) == 6
    assert not [secret for secret in secrets if secret in lines]
    assert not [secret for secret in secrets if secret in logs]


def test_a_named_port_that_is_taken_is_one_sentence(place: Path) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        done = run("up", "--data-dir", str(place / "house"), "--port", str(port))
    assert done.returncode == 1
    assert done.stderr == (
        f"guardhouse: Port {port} on 127.0.0.1 is taken: stop what uses it or name another one with --port.\n"
    )


def test_without_a_name_the_next_free_port_is_taken_and_said(place: Path) -> None:
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not is_listening(8000):
            stranger.bind(("127.0.0.1", 8000))
            stranger.listen()
        with running_house(place / "house") as house:
            port = int(house.ready["url"].rpartition(":")[2])
            assert 8000 < port < 8100
            assert house.get("/api/v1/me")[0] == 200
            house.end(signal.SIGINT)
            assert "(port 8000 was taken)" in (house.process.stdout.read() if house.process.stdout else "")


def test_a_folder_in_use_names_its_holder(house: RunningHouse) -> None:
    done = run("up", "--data-dir", str(house.data_dir))
    assert done.returncode == 1
    assert re.fullmatch(
        rf"guardhouse: The data folder \S+ is in use by process {house.process.pid}: .*\n", done.stderr
    )
    assert house.get("/readyz")[0] == 200


def test_a_database_that_is_away_is_one_sentence(place: Path) -> None:
    done = run(
        "up",
        "--data-dir",
        str(place / "house"),
        "--port",
        "0",
        GUARDHOUSE_DATABASE_URL=f"postgresql://someone:secret-word@127.0.0.1:{free_port()}/guardhouse",
    )
    assert done.returncode == 1
    assert re.fullmatch(
        r"guardhouse: PostgreSQL at 127\.0\.0\.1:\d+ cannot be reached: [^\n]+\n", done.stderr
    )
    assert "secret-word" not in done.stdout + done.stderr


def test_a_full_disk_is_one_sentence(place: Path) -> None:
    mount = place / "small"
    mount.mkdir(mode=0o711)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=711", "none", str(mount)],
        capture_output=True,
        check=False,
    )
    require(done.returncode == 0, "a tmpfs cannot be mounted here; run the tests as root outside a container")
    try:
        refused = run("up", "--data-dir", str(mount / "house"), "--port", "0")
    finally:
        subprocess.run(["umount", str(mount)], check=True)
    assert refused.returncode == 1
    assert re.fullmatch(r"guardhouse: [^\n]*no space left[^\n]*\n", refused.stderr)


def test_a_folder_that_may_not_be_written_is_one_sentence(place: Path) -> None:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "none", str(place)], capture_output=True, check=False
    )
    require(done.returncode == 0, "a tmpfs cannot be mounted here; run the tests as root outside a container")
    try:
        refused = run("up", "--data-dir", str(place / "house"), "--port", "0")
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert refused.returncode == 1
    assert re.fullmatch(r"guardhouse: \S+ is on a read-only file system: [^\n]*\n", refused.stderr)


def test_a_wrong_setting_is_one_sentence(place: Path) -> None:
    done = run("up", "--data-dir", str(place / "house"), GUARDHOUSE_WORKER_LANES="many")
    assert done.returncode == 1
    assert re.fullmatch(
        r"guardhouse: The setting GUARDHOUSE_WORKER_LANES is not usable: [^\n]*\n", done.stderr
    )


def test_json_speaks_one_object_per_line_and_quiet_speaks_not(place: Path) -> None:
    with running_house(place / "house", "--port", "0", "--json") as house:
        ready = house.ready
        house.end(signal.SIGINT)
        lines = [json.loads(line) for line in house.process.stdout or ()]
    assert lines[-1] == ready
    assert all(set(line) == {"step", "seconds"} for line in lines[:-1])
    with running_house(place / "house", "--port", "0", "--quiet") as house:
        house.end(signal.SIGINT)
        assert (house.process.stdout.read() if house.process.stdout else "") == ""


def test_it_serves_a_database_of_ones_own(place: Path, database: Clone) -> None:
    settings = {
        "GUARDHOUSE_DATABASE_URL": database.database_url,
        "GUARDHOUSE_DATABASE_OWNER_URL": database.owner_url,
    }
    with running_house(place / "house", "--port", "0", **settings) as house:
        assert house.get("/api/v1/me")[0] == 200
        assert not (place / "house" / "postgres").exists()
        assert house.find("postgres") is None
        assert house.end(signal.SIGINT)[0] == 0


def test_ctrl_c_while_it_starts_ends_everything(place: Path) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "guardhouse.cli.main",
            "up",
            "--data-dir",
            str(place / "house"),
            "--port",
            "0",
        ],
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for((place / "house" / "postgres.json").exists, 20, "the database's start")
        time.sleep(0.3)
        tree = [*psutil.Process(process.pid).children(recursive=True)]
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        wait_for(lambda: not any(map(bound_process.is_running, tree)), 5, "the end of every part")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_a_database_put_back_to_an_older_state_is_brought_up_again(place: Path) -> None:
    data_dir = place / "house"
    with running_house(data_dir, "--port", "0") as house:
        assert run("migrate", "--to", "0001", GUARDHOUSE_DATA_DIR=str(data_dir)).returncode == 0
        old_key = house.ready["admin_key"]
        house.end(signal.SIGINT)
    with running_house(data_dir, "--port", "0") as house:
        assert house.ready["admin_key"] != old_key  # it went with its table
        assert house.get("/api/v1/me")[0] == 200
