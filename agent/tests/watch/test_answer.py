import json
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard_agent.watch.answer import (
    Answer,
    Named,
    OtherCoding,
    OtherKey,
    Refused,
    TooLarge,
    TryAgain,
    clock_skew_seconds,
    judge,
)

NOW = 1_795_305_315.0


def answer(status: int, document: Any = None, **headers: str) -> Answer:
    return Answer(status, {k.replace("_", "-"): v for k, v in headers.items()}, json.dumps(document).encode())


def named(**changes: Any) -> dict[str, Any]:
    return {"accepted": 3, "duplicates": 0, "errors": 0, "position": 3, "results": []} | changes


def test_a_207_that_names_everything() -> None:
    assert judge(answer(207, named(accepted=2, duplicates=1)), 3, now=NOW) == Named(2, 1, {})
    error = {
        "index": 0,
        "status": "error",
        "error": {"code": "event_too_old", "field": "timestamp", "detail": "old"},
    }
    assert judge(answer(207, named(accepted=2, errors=1, results=[error])), 3, now=NOW) == Named(
        2, 0, {"event_too_old": 1}, "timestamp old"
    )
    assert judge(answer(207, named(accepted=2, errors=1)), 3, now=NOW) == Named(2, 0, {"unnamed": 1})


@pytest.mark.parametrize(
    "document",
    [
        named(),
        named(accepted=-1, duplicates=5),
        named(accepted="x"),
        [],
        None,
        {"accepted": 4},
        named(results=[1]),
    ],
)
def test_a_207_that_does_not_name_everything_deletes_nothing(document: Any) -> None:
    assert isinstance(judge(answer(207, document), 4, now=NOW), TryAgain)


def test_retry_after_in_seconds_and_as_a_date() -> None:
    assert judge(answer(503, {}, retry_after="17"), 1, now=NOW) == TryAgain("the server answered 503", 17.0)
    date = formatdate(NOW + 60, usegmt=True)
    verdict = judge(answer(429, {"code": "rate_limited"}, retry_after=date), 1, now=NOW)
    assert verdict == TryAgain("the server answered 429 rate_limited", 60.0)
    assert judge(answer(500, {}, retry_after="soon"), 1, now=NOW) == TryAgain("the server answered 500", None)
    assert judge(answer(503, {}, retry_after="999999"), 1, now=NOW) == TryAgain(
        "the server answered 503", 3600.0
    )


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (408, None, TryAgain),
        (409, "idempotency_in_progress", TryAgain),
        (409, "idempotency_key_reused", OtherKey),
        (413, "body_too_large", TooLarge),
        (415, "unsupported_coding", OtherCoding),
        (415, "unsupported_media_type", Refused),
        (400, "malformed_body", Refused),
        (401, "unauthorized", Refused),
        (403, "agent_mismatch", Refused),
        (404, None, Refused),
        (422, "validation_failed", Refused),
        (200, None, Refused),
        (302, None, Refused),
        (599, None, TryAgain),
    ],
)
def test_each_answer_has_its_verdict(status: int, code: str | None, kind: type) -> None:
    assert isinstance(judge(answer(status, {"code": code}), 1, now=NOW), kind)


def test_refusals_say_what_to_do() -> None:
    def reason(status: int, **headers: str) -> str:
        verdict = judge(
            answer(status, {"code": "unauthorized", "detail": "no\nvalid\x1b[31m signature"}, **headers),
            1,
            now=NOW,
        )
        assert isinstance(verdict, Refused)
        return verdict.reason

    assert "guardhouse-agent enroll" in reason(401)
    assert "\x1b" not in reason(401)
    assert "\n" not in reason(401)
    late = reason(401, date=formatdate(NOW + 600, usegmt=True))
    assert "clock is +600 s off" in late
    assert "set this machine's clock" in late
    assert "use that address as --server" in reason(301, location="https://elsewhere/")
    assert "check --server" in reason(404)


def test_clock_skew_comes_from_the_date_header() -> None:
    assert clock_skew_seconds(answer(200, date=formatdate(NOW - 90, usegmt=True)), NOW) == -90.0
    assert clock_skew_seconds(answer(200), NOW) is None
    assert clock_skew_seconds(answer(200, date="no date"), NOW) is None


@given(st.integers(100, 599), st.binary(max_size=200), st.text(max_size=40), st.text(max_size=40))
def test_no_answer_raises(status: int, body: bytes, date: str, retry_after: str) -> None:
    strange = Answer(status, {"date": date, "retry-after": retry_after}, body)
    assert judge(strange, 3, now=NOW) is not None
    clock_skew_seconds(strange, NOW)
