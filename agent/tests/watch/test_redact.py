import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard_agent.watch.redact import MARK, redact_argv, redact_event, redact_text

SECRET = "hunter2Zz9"


@pytest.mark.parametrize(
    "argv",
    [
        ["x", f"--password={SECRET}"],
        ["x", "--password", SECRET],
        ["x", "--db-password", SECRET],
        ["x", f"--api-key={SECRET}"],
        ["x", "--token", SECRET],
        ["x", f"-Dspring.datasource.password={SECRET}"],
        ["env", f"AWS_SECRET_ACCESS_KEY={SECRET}", "aws"],
        ["env", f"PGPASSWORD={SECRET}", "psql"],
        ["curl", "-H", f"Authorization: Bearer {SECRET}", "https://h/"],
        ["curl", "-H", f"X-Api-Key: {SECRET}", "https://h/"],
        ["curl", "-H", f"Cookie: sid={SECRET}", "https://h/"],
        ["curl", f"https://bob:{SECRET}@h/x"],
        ["curl", f"https://h/x?a=1&access_token={SECRET}&b=2"],
        ["curl", "-u", f"bob:{SECRET}", "https://h/"],
        ["curl", f"-ubob:{SECRET}"],
        ["curl", "-d", f'{{"user":"bob","password":"{SECRET}"}}'],
        ["mysql", f"-p{SECRET}", "db"],
        ["/usr/bin/mysqldump", f"-p{SECRET}"],
        ["sshpass", "-p", SECRET, "ssh", "h"],
        ["redis-cli", "-a", SECRET],
        ["sh", "-c", f"export API_KEY='{SECRET} b'; run"],
        ["sh", "-c", f"psql --password {SECRET} -h db"],
        ["git", "clone", f"https://ghp_{SECRET}{SECRET}AA@github.com/x"],
        ["x", f"ghp_{SECRET}{SECRET}AA"],
        ["x", f"gh_live_{SECRET}"],
        ["x", f"eyJhbGciOi.eyJzdWIi{SECRET}.{SECRET}"],
        ["x", f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----"],
    ],
)
def test_secrets_are_cut(argv: list[str]) -> None:
    kept = redact_argv(argv)
    assert SECRET not in " ".join(kept)
    assert any(MARK in item for item in kept)
    assert kept[0] == argv[0]
    assert len(kept) == len(argv)


@pytest.mark.parametrize(
    "argv",
    [
        ["ls", "-la", "/etc/passwd"],
        ["cat", "/etc/passwd:/x", "a:b"],
        ["sort", "-k", "3", "--key-columns", "2"],
        ["ssh", "-i", "/root/.ssh/id_rsa", "host"],
        ["ps", "-p", "123"],
        ["sh", "-c", "id; cat /etc/shadow | head -3"],
        ["tail", "-f", "/var/log/auth.log"],
        ["mkdir", "-p", "/a/b"],
        ["curl", "https://example.com/a:b@c"],
        ["python", "-c", "print(1 == 2)"],
    ],
)
def test_ordinary_arguments_stay(argv: list[str]) -> None:
    assert redact_argv(argv) == argv


def test_only_argv_of_an_event_is_touched() -> None:
    event = {"kind": "exec", "exe": "/x", "args": {"path": "/x", "argv": ["x", "--token", "t"]}}
    assert redact_event(event)["args"] == {"path": "/x", "argv": ["x", "--token", MARK]}
    assert redact_event({"kind": "exit"}) == {"kind": "exit"}
    assert redact_argv([]) == []


@given(st.lists(st.text(max_size=60), min_size=1, max_size=8))
def test_any_argv_keeps_its_length_and_program(argv: list[str]) -> None:
    kept = redact_argv(argv)
    assert (len(kept), kept[0]) == (len(argv), argv[0])


@pytest.mark.parametrize(
    "text", ["a" * 4096, "-" * 4096, "a-" * 2048, "token" * 800, "x=" * 2048, "eyJ" * 1365, "://" * 1365]
)
def test_hostile_arguments_take_little_time(text: str) -> None:
    begin = time.process_time()
    redact_text(text)
    assert time.process_time() - begin < 0.5


def test_marks_do_not_make_an_argv_longer_than_the_wire_takes() -> None:
    event = {"kind": "exec", "args": {"argv": ["sh", *(f"--token=a{'&key=b' * 200}" for _ in range(4))]}}
    kept = redact_event(event)["args"]["argv"]
    assert sum(len(item.encode()) for item in kept) <= 4096
    assert "[redacted]" in kept[1]
