# ruff: noqa: E501 -- recorded lines and long signatures of fixtures
import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.tests.watch.conftest import SECRET, Receiver
from guard_agent.watch.credentials import (
    Credentials,
    CredentialsError,
    Ready,
    Settings,
    find_credentials,
    host_id,
    read_key_file,
    read_ready,
    read_settings,
    write_key_file,
)
from guard_agent.watch.door import Door
from guard_agent.watch.enroll import EnrolError, IdTakenError, enroll, enroll_here, keep
from guard_agent.watch.paths import ready_file, state_folder
from guard_agent.watch.sign import AgentKey

KEY_TEXT = "web-1:1:" + base64.urlsafe_b64encode(SECRET).decode()
KEY = AgentKey("web-1:1", SECRET)
OTHER = AgentKey("other:2", bytes(32))


def write_ready(path: Path, url: str = "http://127.0.0.1:9", **changes: Any) -> Path:
    path.write_text(
        json.dumps(
            {"url": url, "admin_key": "gh_live_admin", "tenant": "t", "data_dir": "/d", "pid": os.getpid()}
            | changes
        )
    )
    path.chmod(0o600)
    return path


def find(tmp_path: Path, enrol: Callable[[Ready], AgentKey] | None = None, **options: Any) -> Credentials:
    def refuse(_ready: Ready) -> AgentKey:
        pytest.fail("enrolled although a key was there")

    given: dict[str, Any] = {
        "state": tmp_path / "state", "ready": tmp_path / "ready.json", "server": None, "key_file": None, "environment": {},
    }  # fmt: skip
    return find_credentials(enrol_here=enrol or refuse, **(given | options))


def test_flags_win_over_environment_over_state(tmp_path: Path) -> None:
    flag = tmp_path / "flag.key"
    write_key_file(flag, OTHER.to_text())
    keep(tmp_path / "state", KEY, Settings("http://enrolled"))
    environment = {"GUARDHOUSE_AGENT_KEY": KEY_TEXT.replace("web-1", "env"), "GUARDHOUSE_URL": "http://env/"}
    assert find(tmp_path) == Credentials("http://enrolled", KEY)
    found = find(tmp_path, environment=environment)
    assert (found.server, found.key.agent_id) == ("http://env", "env")
    found = find(tmp_path, environment=environment, key_file=flag, server="http://flag")
    assert found == Credentials("http://flag", OTHER)


def test_a_server_on_this_machine_enrols_once(tmp_path: Path) -> None:
    write_ready(tmp_path / "ready.json")
    asked: list[Ready] = []

    def enrol(ready: Ready) -> AgentKey:
        asked.append(ready)
        keep(tmp_path / "state", KEY, Settings(ready.url, by_ready_file=True, tenant=ready.tenant))
        return KEY

    assert find(tmp_path, enrol) == Credentials("http://127.0.0.1:9", KEY)
    write_ready(tmp_path / "ready.json", url="http://127.0.0.1:10")  # another port after a restart
    assert find(tmp_path) == Credentials("http://127.0.0.1:10", KEY)
    (tmp_path / "ready.json").unlink()
    assert find(tmp_path) == Credentials("http://127.0.0.1:9", KEY)
    write_ready(tmp_path / "ready.json", tenant="another installation")
    find(tmp_path, enrol)
    assert len(asked) == 2


def test_nothing_found_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match=r"guardhouse up.*guardhouse-agent enroll"):
        find(tmp_path)
    write_ready(tmp_path / "ready.json")
    with pytest.raises(CredentialsError, match="not enrolled"):
        find(tmp_path, server="http://elsewhere")


def test_a_ready_file_that_cannot_be_believed_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    assert read_ready(path) is None
    write_ready(path)
    assert read_ready(path) == Ready("http://127.0.0.1:9", "gh_live_admin", "t")
    path.chmod(0o666)
    assert read_ready(path) is None
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert read_ready(write_ready(path, pid=gone.pid)) is None
    for text in ("", "{}", "[]", '{"pid": "x"}'):
        path.write_text(text)
        path.chmod(0o600)
        assert read_ready(path) is None


def test_key_files_are_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "agent.key"
    write_key_file(path, KEY_TEXT)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert read_key_file(path) == KEY
    path.chmod(0o644)
    with pytest.raises(CredentialsError, match="chmod 600"):
        read_key_file(path)
    path.chmod(0o600)
    path.write_text("rubbish")
    with pytest.raises(CredentialsError, match="guardhouse-agent enroll"):
        read_key_file(path)
    with pytest.raises(CredentialsError, match="cannot be read"):
        read_key_file(tmp_path / "none")


def test_enrolment_over_the_wire(receiver: Receiver, tmp_path: Path) -> None:
    key = enroll(Door(receiver.url), "gh_live_admin", "db-1", "db-1.example")
    assert receiver.agents["db-1"] == key.secret
    assert (key.key_id, len(key.secret)) == ("db-1:1", 32)
    assert json.loads(receiver.requests[0]["body"]) == {
        "id": "db-1",
        "name": "db-1",
        "hostname": "db-1.example",
    }
    with pytest.raises(IdTakenError, match="choose another --id"):
        enroll(Door(receiver.url), "gh_live_admin", "db-1", "db-1")
    with pytest.raises(EnrolError, match="needs the scope agents:write"):
        enroll(Door(receiver.url), "wrong", "db-2", "db-2")
    with pytest.raises(EnrolError, match="is the server running"):
        enroll(Door("http://127.0.0.1:1"), "gh_live_admin", "db-2", "db-2")
    path = keep(tmp_path, key, Settings(receiver.url))
    assert read_key_file(path) == key
    assert read_settings(tmp_path) == Settings(receiver.url)


def test_a_host_name_that_is_taken_gets_a_suffix(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "my host!")
    ready = Ready(receiver.url, "gh_live_admin", "t")
    assert enroll_here(ready, tmp_path / "a").agent_id == "my-host"
    second = enroll_here(ready, tmp_path / "b")
    assert second.agent_id.startswith("my-host-")
    assert read_settings(tmp_path / "b") == Settings(receiver.url, by_ready_file=True, tenant="t")


def test_places(tmp_path: Path) -> None:
    assert state_folder({"GUARDHOUSE_AGENT_STATE_DIR": "/a", "XDG_STATE_HOME": "/b"}) == Path("/a")
    assert state_folder({"XDG_STATE_HOME": "/b"}) == Path("/b/guardhouse-agent")
    assert state_folder({}) == Path.home() / ".local/state/guardhouse-agent"
    assert ready_file({"GUARDHOUSE_READY_FILE": "/r"}) == Path("/r")
    assert ready_file({"XDG_DATA_HOME": "/x"}) == Path("/x/guardhouse/ready.json")
    assert ready_file({"GUARDHOUSE_DATA_DIR": str(tmp_path)}) == tmp_path / "ready.json"
    assert ready_file({}) == Path.home() / ".local/share/guardhouse/ready.json"
    assert host_id("...") == "host"
    assert host_id("Ünï.example") == "n-.example"
