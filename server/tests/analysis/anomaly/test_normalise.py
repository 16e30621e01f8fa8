"""Text as it is scored: secrets out, one bounded line, linear time."""

import pytest

from guardhouse.analysis.anomaly.mask import Masker
from guardhouse.analysis.anomaly.normalise import LONGEST, is_truncated, redact, redact_text, to_lines


def test_secrets_leave_records_at_any_depth() -> None:
    body = {"user": "bob", "Password": "x", "inner": [{"api_key": "k", "note": "card 4111 1111 1111 1111"}]}
    assert redact(body) == {
        "user": "bob",
        "Password": "[REDACTED]",
        "inner": [{"api_key": "[REDACTED]", "note": "card <card>"}],
    }


def test_secrets_leave_texts() -> None:
    assert redact_text("Authorization: Bearer abcdef0123456789") == "Authorization: Bearer [REDACTED]"
    assert (
        redact_text("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----!") == "[REDACTED]!"
    )
    assert redact_text("order 4111111111111112 shipped") == "order 4111111111111112 shipped"


def test_a_text_is_one_line() -> None:
    assert to_lines(["a\r\nb\x00c\td\x1b[0m", "", "\x1e", "é\ud800"]) == [
        b"a bc\td[0m",
        b"",
        b"",
        "é?".encode(),
    ]


def test_a_long_text_is_scored_to_its_limit() -> None:
    short, long = to_lines(["x" * LONGEST, "x" * 10_000_000])
    assert not is_truncated(short)
    assert is_truncated(long)
    assert len(long) < LONGEST + 10


HOSTILE = [
    "a@" * 500_000,
    "eyJ" * 333_333,
    "a" * 1_000_000,
    "1" * 1_000_000,
    "1:" * 500_000,
    "a://" * 250_000,
]
HOSTILE += ["-----BEGIN PRIVATE KEY-----" * 40_000, "bearer " * 150_000, "0x" * 500_000, "a.b-c_d" * 140_000]


@pytest.mark.parametrize("text", HOSTILE, ids=[text[:8] for text in HOSTILE])
def test_hostile_texts_come_to_an_end(text: str) -> None:
    """With a pattern whose time grows with the square of the length this would take hours."""
    redact_text(text)
    line = text[: len(text) // 4].encode()
    for mask in ("log", "light"):
        assert Masker(mask).lines([line]) == [Masker(mask).trace(line).masked]
