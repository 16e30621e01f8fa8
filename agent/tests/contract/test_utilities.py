"""The small tools of the interface behave as the released ones do (recorded by running them)."""

import asyncio
import hashlib
import json
import logging
import os
import re
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from guard_agent import install_id, random_key, utils
from guard_agent.encryption import EncryptionConfigError, EncryptionError, PayloadEncryptor, create_encryptor
from guard_agent.exceptions import GuardAgentError, PayloadTooLargeError, PermanentClientError
from guard_agent.install_id import resolve_install_id
from guard_agent.logging_utils import logger_is_configured, setup_agent_logging
from guard_agent.signing import sign_payload

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
VECTOR = "AAECAwQFBgcICQoLPCCzbaCLtmive8zWncsVCPek7leDWWUnZRp71I4l85MHUYcFEjOwgknA"
PLAIN = b'{"events":[],"metrics":[]}'


def test_the_encryption_vector_opens_and_what_is_sealed_has_its_form() -> None:
    encryptor = PayloadEncryptor(KEY)
    assert encryptor.unseal(VECTOR) == PLAIN
    assert encryptor.decrypt(VECTOR.rstrip("=")) == {"events": [], "metrics": []}
    sealed = encryptor.encrypt({"events": [], "metrics": []})
    assert len(sealed) == len(VECTOR)
    assert re.fullmatch(r"[A-Za-z0-9_-]+=*", sealed)
    assert encryptor.encrypt({}) != encryptor.encrypt({})
    assert encryptor.verify_key() is True


def test_values_of_events_can_be_encrypted() -> None:
    encryptor = PayloadEncryptor(KEY)
    moment, key = datetime(2026, 1, 1, tzinfo=UTC), uuid.UUID(int=5)
    assert encryptor.decrypt(encryptor.encrypt({"t": moment, "u": key}, "aad"), "aad") == {
        "t": "2026-01-01T00:00:00+00:00",
        "u": "00000000-0000-0000-0000-000000000005",
    }


@pytest.mark.parametrize("text", ["!!", "AAAA", "", VECTOR[:-4], "B" + VECTOR[1:], "ä" * 60])
def test_what_this_key_did_not_seal_is_refused(text: str) -> None:
    with pytest.raises(EncryptionError):
        PayloadEncryptor(KEY).decrypt(text)


def test_associated_data_is_part_of_the_seal() -> None:
    encryptor = PayloadEncryptor(KEY)
    with pytest.raises(EncryptionError):
        encryptor.decrypt(encryptor.encrypt({"a": 1}, "aad"))
    with pytest.raises(EncryptionError, match="JSON"):
        encryptor.encrypt({"a": {1, 2}})


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("", "cannot be empty"),
        ("short", "Invalid project key"),
        ("YWFhYWFhYWFhYWFhYWFhYQ==", "16 bytes, expected 32"),
    ],
)
def test_keys_that_are_none(key: str, said: str) -> None:
    with pytest.raises(EncryptionError, match=said):
        PayloadEncryptor(key)


@pytest.mark.parametrize("key", [KEY, KEY.rstrip("="), "x" * 43, "/" * 42 + "8=", "_" * 42 + "8"])
def test_keys_in_both_alphabets_with_and_without_padding(key: str) -> None:
    assert create_encryptor(key) is not None


def test_what_opens_and_is_no_object_is_refused() -> None:
    encryptor = PayloadEncryptor(KEY)
    for plaintext in (b"no json", b"[1]"):
        with pytest.raises(EncryptionError, match="no JSON"):
            encryptor.decrypt(encryptor.seal(plaintext))


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(EncryptionConfigError, match=r"guardhouse-agent\[encryption\]"):
        create_encryptor(KEY)


def test_without_a_key_there_is_no_encryptor() -> None:
    assert create_encryptor(None) is None
    assert create_encryptor("") is None


def test_the_signature_vector() -> None:
    expected = "v1=40286239d9309c7618175fdbf670e943c8e19a7f5c9e141f4d82a4cae0c8cc03"
    assert sign_payload(PLAIN, secret="topsecret") == expected


def test_an_install_id_is_made_once_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "a" / "install-id"
    made = resolve_install_id(state_path=file)
    assert uuid.UUID(made).version == 4
    assert resolve_install_id(state_path=file) == file.read_text() == made
    assert resolve_install_id(state_path=file, override="mine") == "mine"
    assert [entry.name for entry in file.parent.iterdir()] == ["install-id"]
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("  \n")
    again = resolve_install_id(state_path=file)
    assert again != made
    assert file.read_text() == again
    file.write_text("kept as it is")
    assert resolve_install_id(state_path=file) == "kept as it is"


def test_of_many_that_make_it_at_once_all_get_the_same(tmp_path: Path) -> None:
    file, found = tmp_path / "install-id", list[str]()
    barrier = threading.Barrier(8)

    def resolve() -> None:
        barrier.wait(10)
        found.append(resolve_install_id(state_path=file))

    threads = [threading.Thread(target=resolve) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {file.read_text()}


def test_without_a_place_the_id_lives_as_long_as_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(install_id, "_ephemeral", {})
    (tmp_path / "file").write_text("")
    blocked = tmp_path / "file" / "install-id"
    first = resolve_install_id(state_path=blocked)
    assert resolve_install_id(state_path=blocked) == first
    assert len(caplog.records) == 1


def test_a_process_without_home_gets_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(install_id, "_ephemeral", {})
    monkeypatch.setattr(Path, "home", no_home)
    assert resolve_install_id() == resolve_install_id()


def test_keys_are_random_uuids_from_any_thread_and_after_a_fork() -> None:
    found: list[uuid.UUID] = []
    threads = [
        threading.Thread(target=lambda: found.extend(random_key.new_key() for _ in range(1000)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 8000
    assert {key.version for key in found} == {4}
    assert {key.variant for key in found} == {uuid.RFC_4122}
    assert uuid.UUID(str(found[0])) == found[0]
    random_key.new_key()
    assert random_key._numbers
    random_key._forget_after_fork()
    assert not random_key._numbers


def test_small_functions() -> None:
    assert re.fullmatch(r"\d{13}-[0-9a-f]{8}", utils.generate_batch_id())
    assert utils.get_current_timestamp().utcoffset() == timedelta(0)
    assert utils.hash_ip("1.2.3.4") == hashlib.sha256(b"1.2.3.4").hexdigest()[:16] == "6694f83c9f476da3"
    assert utils.hash_ip("1.2.3.4", "s") == "871602288455ee6d"
    assert utils.sanitize_headers({"Authorization": "x", "X": "y"}, ["authorization"]) == {
        "Authorization": "[REDACTED]",
        "X": "y",
    }
    assert utils.truncate_payload("abcdef", 3) == "abc...[TRUNCATED]"
    assert [utils.truncate_payload("abc", 3), utils.truncate_payload("", 0)] == ["abc", ""]
    assert utils.summarize_response_body("a  b\nc") == "a b c"
    assert utils.summarize_response_body("x" * 500) == "x" * 300 + "... [truncated, 500 chars total]"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("5", 5.0),
        ("0", 0.0),
        ("-3", 0.0),
        ("1.5", 1.5),
        (" 7 ", 7.0),
        ("Wed, 21 Oct 2035 07:28:00 GMT", 60.0),
        ("x", 60.0),
        ("nan", 60.0),
        ("inf", 60.0),
        ("", 60.0),
        (None, 60.0),
    ],
)
def test_retry_after(header: str | None, seconds: float) -> None:
    assert utils.parse_retry_after_seconds(header) == seconds


@pytest.mark.parametrize(("attempt", "ceiling"), [(0, 1.0), (3, 8.0), (6, 60.0), (5000, 60.0), (-1, 1.0)])
def test_a_backoff_is_spread_below_its_ceiling(attempt: int, ceiling: float) -> None:
    drawn = [utils.calculate_backoff_delay(attempt) for _ in range(200)]
    assert 0 <= min(drawn) < ceiling / 4
    assert ceiling * 3 / 4 < max(drawn) <= ceiling


async def test_json_as_released() -> None:
    assert await utils.safe_json_serialize({"a": 1, "t": datetime(2026, 1, 1, tzinfo=UTC), "s": {1}}) == (
        '{"a":1,"t":"2026-01-01 00:00:00+00:00","s":"{1}"}'
    )
    assert await utils.safe_json_serialize({"n": float("nan")}) == '{"n":NaN}'
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(utils.SerializationError):
        await utils.safe_json_serialize(loop)
    assert await utils.safe_json_deserialize('{"a":1}') == {"a": 1}
    for text in ("", "xx", "null", "[1]", "[" * 100_000):
        assert await utils.safe_json_deserialize(text) is None


async def test_a_rate_limiter_allows_its_calls_and_says_when_the_next_is_free() -> None:
    limiter = utils.RateLimiter(2, 60.0)
    assert limiter.get_retry_after() == 0.0
    assert [await limiter.acquire() for _ in range(3)] == [True, True, False]
    assert 50.0 < limiter.get_retry_after() <= 60.0
    limiter.calls[0] -= 61
    assert await limiter.acquire() is True


async def test_a_breaker_opens_rests_and_lets_one_probe_through() -> None:
    breaker = utils.CircuitBreaker(2, 60.0)
    gate = asyncio.Event()

    async def fail() -> None:
        raise KeyError("x")

    async def wait() -> str:
        await gate.wait()
        return "done"

    for expected in ("CLOSED", "OPEN"):
        with pytest.raises(KeyError):
            await breaker.call(fail)
        assert breaker.state == expected
    with pytest.raises(GuardAgentError, match="Circuit breaker is OPEN"):
        await breaker.call(fail)
    assert breaker.last_failure_time is not None
    breaker.last_failure_time -= 61
    probe = asyncio.create_task(breaker.call(wait))
    await asyncio.sleep(0)
    assert breaker.state == "HALF_OPEN"
    with pytest.raises(GuardAgentError, match="HALF_OPEN"):
        await breaker.call(wait)
    gate.set()
    assert await probe == "done"
    assert (breaker.state, breaker.failure_count) == ("CLOSED", 0)
    assert await breaker.call(lambda value: value, 4) == 4


async def test_a_cancelled_probe_leaves_the_breaker_for_another() -> None:
    breaker = utils.CircuitBreaker(1, 0.0)
    with pytest.raises(ZeroDivisionError):
        await breaker.call(lambda: 1 / 0)
    probe = asyncio.create_task(breaker.call(asyncio.Event().wait))
    await asyncio.sleep(0)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    assert breaker.state == "OPEN"
    assert await breaker.call(lambda: "through") == "through"


def test_a_hook_that_raises_goes_no_further(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Any] = []

    def hook(stage: str, error: BaseException, context: dict[str, Any]) -> None:
        told.append((stage, error, context))
        raise ValueError("hook")

    error = KeyError("a")
    utils.fire_error_hook(hook, logging.getLogger("guard_agent"), "transport_send", error, {"c": 1})
    utils.fire_error_hook(None, logging.getLogger("guard_agent"), "transport_send", error, {})
    assert told == [("transport_send", error, {"c": 1})]
    assert "on_error hook raised while handling 'transport_send': hook" in caplog.text


def test_errors_say_what_the_released_ones_say() -> None:
    assert str(PermanentClientError(404, "gone")) == "Permanent client error 404: gone"
    assert (PayloadTooLargeError("big").status_code, PayloadTooLargeError("big").detail) == (413, "big")
    assert str(utils.RateLimitedError(5.0)) == "Rate limited by server, retry after 5.0s"


@pytest.fixture
def bare_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("guard_agent")
    handlers, level = list(logger.handlers), logger.level
    logger.handlers.clear()
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_log_lines_go_to_a_file_too(tmp_path: Path, bare_logger: logging.Logger) -> None:
    file = tmp_path / "logs" / "agent.log"
    assert not logger_is_configured(bare_logger)
    logger = setup_agent_logging(str(file), "json")
    logger.warning("w %s", 1)
    try:
        json.loads("{")
    except ValueError:
        logger.exception("e")
    first, second = (json.loads(line) for line in file.read_text().splitlines())
    assert {key: first[key] for key in ("level", "logger", "message")} == {
        "level": "WARNING",
        "logger": "guard_agent",
        "message": "w 1",
    }
    assert "JSONDecodeError" in second["exception"]
    kept = list(logger.handlers)
    assert setup_agent_logging(reconfigure=False).handlers == kept
    assert len(setup_agent_logging().handlers) == 1


def test_a_log_file_that_cannot_be_opened_costs_a_warning(
    tmp_path: Path, bare_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert len(setup_agent_logging(os.fspath(tmp_path / "file" / "agent.log")).handlers) == 1
    assert bare_logger.handlers
    assert "Failed to create log file" in capsys.readouterr().err
