"""The last step before the spool: the host's own redaction list, and the self limit that counts what it leaves out."""

import json
from pathlib import Path
from typing import Any

import pytest

from guard_agent.watch import loss as lost
from guard_agent.watch.cpu_limit import CpuLimit
from guard_agent.watch.intake import Intake
from guard_agent.watch.redact import MARK, RedactionError, Redactor, read_redactor
from guard_agent.watch.spool import Spool
from guard_agent.watch.stream import Stream


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", Stream("s", "web-1", "b", "audit.v1"))


def call(name: str, **more: Any) -> dict[str, Any]:
    return {"kind": "call", "timestamp": 1, "pid": 2, "syscall": name} | more


def test_while_limited_only_security_events_are_kept_and_the_rest_is_counted(spool: Spool) -> None:
    limit = CpuLimit(25, limited=True)
    limit._until = float("inf")
    intake = Intake(spool, Redactor(), limit, lambda _text: None)
    plain = {"kind": "calls", "timestamp": 1, "pid": 2, "names": ["read"] * 5}
    intake.take([call("execve"), call("read"), plain, call("connect")])
    gathered = spool.gather(10)
    assert gathered is not None
    kept = [json.loads(payload) for payload in gathered.payloads]
    assert [event.get("syscall") or event["where"] for event in kept] == [
        "collector.cpu_limit",
        "execve",
        "connect",
    ]
    assert spool.losses.totals == {lost.CPU_LIMIT: 6}
    assert spool.offered == 2 + 6
    limit.limited = False
    intake.take([call("read")])
    assert spool.losses.totals == {lost.CPU_LIMIT: 6}
    spool.close()


def test_the_limit_is_told_when_it_begins_and_when_it_ends(spool: Spool) -> None:
    said: list[str] = []
    intake = Intake(spool, Redactor(), CpuLimit(25), said.append)
    intake._tell("begin")
    intake._tell("end")
    assert said[0].startswith("used more than 25 % of a core for 10 s: only security events")
    assert said[1] == "the CPU limit is over: everything is kept again"
    spool.close()


@pytest.mark.parametrize(
    ("argv", "kept"),
    [
        (["app", "--pin", "1234"], ["app", "--pin", MARK]),
        (["app", "--pin=1234"], ["app", f"--pin={MARK}"]),
        (["app", "--db-pin=1234", "--pinned"], ["app", f"--db-pin={MARK}", "--pinned"]),
        (["sh", "-c", "PIN=1234 app"], ["sh", "-c", f"PIN={MARK} app"]),
        (["app", "card 4111-1111-1111-1111"], ["app", f"card {MARK}"]),
        (["app", "--password", "x"], ["app", "--password", MARK]),
        (["app", "spin", "1234"], ["app", "spin", "1234"]),
    ],
)
def test_a_hosts_own_list_adds_to_what_is_redacted(tmp_path: Path, argv: list[str], kept: list[str]) -> None:
    path = tmp_path / "redact"
    path.write_text("# ours\npin\n\n/\\b(?:\\d{4}-){3}\\d{4}\\b/\n")
    event = read_redactor(path).event({"kind": "exec", "args": {"argv": argv}})
    assert event["args"]["argv"] == kept


def test_a_pattern_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "redact"
    path.write_text("/(/\n")
    with pytest.raises(RedactionError, match="is no regular expression"):
        read_redactor(path)
