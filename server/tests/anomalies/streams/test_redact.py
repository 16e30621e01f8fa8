"""Secrets are gone before anything is stored; what only looks like one stays."""

import pytest

from guardhouse.anomalies.streams.redact import redact_text, redact_value

CARD = "4111 1111 1111 1111"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"paid with {CARD}.", "paid with <card>."),
        ("paid with 4111111111111111", "paid with <card>"),
        ("order 4111111111111112", "order 4111111111111112"),
        ("zeros 0000000000000000", "zeros 0000000000000000"),
        ("id 12345678901234567890123", "id 12345678901234567890123"),
        ("Authorization: Bearer abc.def-123=", "Authorization: Bearer [REDACTED]"),
        ("the bearer of news", "the bearer of news"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nafter",
            "[REDACTED]\nafter",
        ),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", "[REDACTED]"),
    ],
    ids=lambda text: text[:20],
)
def test_texts(text: str, kept: str) -> None:
    assert redact_text(text) == kept


def test_records_lose_the_values_of_secret_members_at_any_depth() -> None:
    record = {"user": "u", "Password": "p", "a": [{"api_key": 5, "note": f"card {CARD}"}], "n": 3}
    assert redact_value(record) == {
        "user": "u",
        "Password": "[REDACTED]",
        "a": [{"api_key": "[REDACTED]", "note": "card <card>"}],
        "n": 3,
    }


def test_long_texts_are_read_in_linear_time() -> None:
    for text in ("1 " * 500_000, "-----BEGIN " * 90_000, "bearer " * 140_000, "Bearer " + "a" * 1_000_000):
        redact_text(text)
