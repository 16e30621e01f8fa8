import json
import os
from pathlib import Path

import pytest

from agent.tests.watch.conftest import KEY, Receiver
from guard_agent.watch import __version__
from guard_agent.watch.arguments import parse
from guard_agent.watch.command import main
from guard_agent.watch.doctor import examine_collectors

LOG = '10 1795305315.1 execve("/bin/sh", ["sh"], 0x7ff) = 0\n10 1795305315.2 exit_group(0) = ?\n'


@pytest.fixture
def state(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GUARDHOUSE_AGENT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("GUARDHOUSE_READY_FILE", str(tmp_path / "none.json"))
    monkeypatch.setenv("GUARDHOUSE_URL", receiver.url)
    monkeypatch.delenv("GUARDHOUSE_AGENT_KEY", raising=False)
    return tmp_path / "state"


@pytest.mark.parametrize(
    "words", [["import", "{}"], ["watch", "--import", "{}"], ["import", "--format", "strace", "{}"]]
)
def test_import_in_all_its_spellings(
    state: Path,
    receiver: Receiver,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    monkeypatch.setenv("GUARDHOUSE_AGENT_KEY", KEY.to_text())
    path = tmp_path / "run.strace"
    path.write_text(LOG)
    assert main([word.replace("{}", str(path)) for word in words]) == 0
    assert len(receiver.events()) == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert f"{path}: 2 lines, 2 events stored, 0 known before, 0 refused, 0 lines unreadable" in out.err
    assert state.is_dir()


@pytest.mark.usefixtures("state")
@pytest.mark.parametrize("told", [[], ["--format", "auditd"]])
def test_rotated_audit_logs_are_imported_as_one(
    receiver: Receiver,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    told: list[str],
) -> None:
    monkeypatch.setenv("GUARDHOUSE_AGENT_KEY", KEY.to_text())
    head, call = (
        "msg=audit(1795305072.001:7): ",
        "arch=c000003e syscall=105 success=yes exit=0 a0=0 a1=0 a2=0 a3=0",
    )
    new, old = tmp_path / "audit.log", tmp_path / "audit.log.1"
    old.write_text(f'type=SYSCALL {head}{call} items=0 ppid=1 pid=7 exe="/bin/x"\n')
    new.write_text(f"type=EOE {head}\ntype=EOE {head.replace('001:7', '002:8')}\n")
    assert main(["import", *told, str(new), str(old)]) == 0
    assert [event["syscall"] for event in receiver.events()] == ["setuid"]
    assert f"{old} and 1 more: 3 lines, 1 events stored" in capsys.readouterr().err


def test_an_old_log_is_told_how_to_be_replayed(
    state: Path,
    receiver: Receiver,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not state.exists()
    monkeypatch.setenv("GUARDHOUSE_AGENT_KEY", KEY.to_text())
    receiver.refuse = lambda event: (
        None if "metadata" in event or event["kind"] == "exit" else "event_too_old"
    )
    path = tmp_path / "run.strace"
    path.write_text(LOG)
    assert main(["import", str(path)]) == 1
    assert "use `--shift-to now` to replay an old log" in capsys.readouterr().err
    assert main(["import", "--shift-to", "now", str(path)]) == 0
    assert "times moved so that the last event is now" in capsys.readouterr().err


def test_enroll_then_report(
    state: Path,
    receiver: Receiver,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert main(["enroll", "--id", "db-1"]) == 2
    assert "GUARDHOUSE_API_KEY" in capsys.readouterr().err
    key_file = tmp_path / "admin"
    key_file.write_text("gh_live_admin\n")
    assert main(["enroll", "--server", receiver.url, "--api-key-file", str(key_file), "--id", "db-1"]) == 0
    assert f"enrolled as db-1 at {receiver.url}; the key is in {state}/agent.key" in capsys.readouterr().err
    assert (state / "agent.key").stat().st_mode & 0o777 == 0o600
    monkeypatch.delenv("GUARDHOUSE_URL")
    path = tmp_path / "run.strace"
    path.write_text(LOG)
    assert main(["import", str(path)]) == 0
    assert len(receiver.events()) == 2
    monkeypatch.setenv("GUARDHOUSE_API_KEY", "gh_live_admin")
    assert main(["enroll", "--server", receiver.url, "--id", "db-1"]) == 69
    assert "choose another --id" in capsys.readouterr().err


def test_messages_name_the_remedy(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not state.exists()
    assert main(["watch", "--", "true"]) in (77, 127)
    assert "guardhouse" in capsys.readouterr().err
    assert main(["watch"]) == 77  # the whole host, but as whom?
    assert "enroll" in capsys.readouterr().err
    assert main(["watch", "--all-calls"]) == 2
    assert "which command?" in capsys.readouterr().err
    for words in (
        ["--deep"],
        ["--pid", "1"],
        ["--deep", "--pid", "1", "--cgroup", "x"],
        ["--deep", "--pid", "1", "x"],
    ):
        assert main(["watch", *words]) == 2
        assert "deep mode is `watch --deep --pid PID`" in capsys.readouterr().err
    monkeypatch.setenv("GUARDHOUSE_AGENT_KEY", "rubbish")
    assert main(["import", str(tmp_path / "none")]) == 77
    assert "GUARDHOUSE_AGENT_KEY: an agent key has the form" in capsys.readouterr().err
    monkeypatch.setenv("GUARDHOUSE_AGENT_KEY", KEY.to_text())
    assert main(["import", str(tmp_path / "none")]) == 69
    assert "no such file" in capsys.readouterr().err.lower()
    assert main(["import", "--server", "nonsense", str(tmp_path / "none")]) == 77
    assert "is no server address" in capsys.readouterr().err


def test_doctor_names_every_collector(
    state: Path, receiver: Receiver, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["doctor"]) == 1  # no key
    out = capsys.readouterr().out
    for name in (
        "launch (strace)",
        "import",
        "audit (default mode)",
        "process connector",
        "deep (bpftrace)",
        "key",
        "spool",
        "compression",
    ):
        assert f" {name}: " in out
    monkeypatch.setenv("GUARDHOUSE_AGENT_KEY", KEY.to_text())
    main(["doctor"])
    out = capsys.readouterr().out
    assert f"✓ server {receiver.url}: answers (200)" in out
    assert "✓ key: web-1:1" in out
    assert not state.exists()


def test_doctor_says_how_to_get_strace(tmp_path: Path) -> None:
    found = examine_collectors({"PATH": str(tmp_path)}, tmp_path)
    launch = next(finding for finding in found if finding.name == "launch (strace)")
    assert launch.state == "fail"
    assert "apt install strace" in launch.text


def test_doctor_says_that_the_next_watch_enrols(
    state: Path,
    receiver: Receiver,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not state.exists()
    ready = tmp_path / "ready.json"
    ready.write_text(json.dumps({"url": receiver.url, "admin_key": "x", "tenant": "t", "pid": os.getpid()}))
    ready.chmod(0o600)
    monkeypatch.setenv("GUARDHOUSE_READY_FILE", str(ready))
    main(["doctor"])
    assert f"the next `watch` will enrol this host at {receiver.url} by itself" in capsys.readouterr().out
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["watch", "--", "sh", "-c", "a -- b"], ["sh", "-c", "a -- b"]),
        (["watch", "--exec", "--all-calls", "--", "grep", "--", "x"], ["grep", "--", "x"]),
        (["watch", "true"], ["true"]),
        (["--", "true"], ["true"]),
        (["--all-calls", "--", "true", "--help"], ["true", "--help"]),
    ],
)
def test_the_command_is_taken_as_it_stands(words: list[str], command: list[str]) -> None:
    assert parse(words).argv == command


@pytest.mark.parametrize("words", [["import", "f", "--", "true"], ["watch", "true", "--", "true"], []])
def test_a_misplaced_command_is_a_usage_error(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(words)
    assert caught.value.code == 2


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"guardhouse-agent {__version__}\n"
