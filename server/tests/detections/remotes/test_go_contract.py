"""What is taken for an answer of the Go engine, and what is not."""

import json
from typing import Any

import pytest

from guardhouse.detections.remotes.go_contract import BadAnswerError, body_of, read_answer
from guardhouse.settings import RemoteEngine

ATTACK = RemoteEngine(url="http://engine:8080")
VERDICT = RemoteEngine(url="http://engine:8080", confidence_means="verdict")


def said(**members: Any) -> bytes:
    return json.dumps({"is_malicious": True, "confidence": 0.91} | members).encode()


def test_the_request_is_that_of_the_contract() -> None:
    assert json.loads(body_of("tab\t and \u200b", 700)) == {
        "text": "tab\t and \u200b",
        "config": {"confidence_threshold": 0.7, "detailed_response": True},
    }


@pytest.mark.parametrize(
    ("confidence", "malicious", "attack", "verdict"),
    [
        (0.91, True, 910, 910),
        (0.91, False, 910, 90),
        (1, True, 999, 999),  # 1.000 is kept for what no threshold moves
        (0, True, 1, 1),
        (1.0, False, 999, 1),
        (0.0004, True, 1, 1),
    ],
)
def test_confidence_is_read_as_the_settings_say(
    confidence: float, *, malicious: bool, attack: int, verdict: int
) -> None:
    body = said(confidence=confidence, is_malicious=malicious)
    assert read_answer(body, ATTACK).score_milli == attack
    assert read_answer(body, VERDICT).score_milli == verdict


def test_what_go_leaves_out_or_sends_as_null_is_no_fault() -> None:
    verdict = read_answer(said(threat_types=None, reason="", processing_time_ms=3, model="m"), ATTACK)
    assert (verdict.threat_types, verdict.reason, verdict.endpoint) == ((), None, None)
    verdict = read_answer(said(threat_types=["jailbreak"], reason="r" * 600, endpoint="primary"), ATTACK)
    assert (verdict.threat_types, len(verdict.reason or ""), verdict.endpoint) == (
        ("jailbreak",),
        500,
        "primary",
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"null",
        b"[]",
        b'{"confidence":0.5}',
        b'{"is_malicious":true}',
        b'{"is_malicious":true,"confidence":NaN}',
        said(confidence=1.7),
        said(confidence=-0.01),
        said(confidence="0.5"),
        said(confidence=None),
        said(is_malicious=1),
        said(threat_types="jailbreak"),
        said(reason=5),
    ],
)
def test_an_answer_without_a_sound_verdict_is_none(body: bytes) -> None:
    with pytest.raises(BadAnswerError):
        read_answer(body, ATTACK)
