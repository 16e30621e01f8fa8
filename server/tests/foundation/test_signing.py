import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from guardhouse.foundation.signing import (
    Claim,
    SignatureRefused,
    SignedMessage,
    legacy_mac,
    read_claim,
    verify_legacy,
    verify_mac,
)
from server.tests.identity import make

VECTORS = Path(__file__).parents[3] / "contract" / "vectors"
KEY = bytes(range(32))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOW_SECONDS = int(NOW.timestamp())
TAG = "guardhouse-events"


def load(name: str) -> dict[str, Any]:
    vector: dict[str, Any] = json.loads((VECTORS / name).read_text())
    return vector


def signed(**changed: Any) -> SignedMessage:
    return make.signed_request("web-1:1", KEY, now=NOW, **changed)


def with_header(message: SignedMessage, name: str, value: str | None) -> SignedMessage:
    headers = {k.lower(): v for k, v in message.headers.items() if k.lower() != name}
    return replace(message, headers=headers if value is None else headers | {name: value})


def check(message: SignedMessage, *, now: int = NOW_SECONDS, key: bytes = KEY, tag: str = TAG) -> bool:
    """Tell whether the whole check passes."""
    try:
        claim = read_claim(message, tag=tag, now=now)
    except SignatureRefused:
        return False
    return verify_mac(message, claim, key, tag=tag)


def test_the_vector_verifies() -> None:
    vector = load("signature_rfc9421.json")
    headers = vector["headers"] | {
        "signature-input": vector["signature_input"],
        "signature": vector["signature"],
    }
    message = SignedMessage(vector["method"], vector["url"], headers, vector["body"].encode())
    claim = read_claim(message, tag=vector["tag"], now=vector["created"] + 30)
    assert claim == Claim(
        "sig1", "web-1:1", vector["nonce"], vector["created"], vector["expires"], claim.components
    )
    assert verify_mac(message, claim, bytes.fromhex(vector["key_hex"]), tag=vector["tag"])
    assert not verify_mac(message, claim, bytes(32), tag=vector["tag"])


def test_the_legacy_vector_verifies() -> None:
    vector = load("signature_legacy.json")
    key, body = bytes.fromhex(vector["key_hex"]), vector["body"].encode()
    assert legacy_mac(key, body) == vector["signature"]
    assert verify_legacy(key, body, f" {vector['signature']} ")
    assert not verify_legacy(key, body + b" ", vector["signature"])
    assert not verify_legacy(key, body, "")
    assert not verify_legacy(key, body, "é\udcff")


def test_an_independent_library_signs_and_we_verify() -> None:
    assert check(signed())
    assert check(
        signed(covered=("@method", "@target-uri", "content-type", "content-digest", "idempotency-key"))
    )
    assert check(signed(url=f"{make.URL}?a=1&b=%20", covered=(*make.COVERED, "@query")))
    assert check(signed(headers={"content-encoding": "gzip"}, covered=(*make.COVERED, "content-encoding")))


@pytest.mark.parametrize("left_out", make.COVERED)
def test_every_part_must_be_covered(left_out: str) -> None:
    assert not check(signed(covered=[name for name in make.COVERED if name != left_out]))


def test_a_query_and_a_coding_must_be_covered_when_they_are_there() -> None:
    assert not check(signed(url=f"{make.URL}?a=1"))
    assert not check(signed(headers={"content-encoding": "gzip"}))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: replace(m, method="PUT"),
        lambda m: replace(m, url=m.url.replace("/events", "/event")),
        lambda m: replace(m, url=m.url.replace("127.0.0.1", "127.0.0.2")),
        lambda m: replace(m, url=m.url.replace(":8000", ":8001")),
        lambda m: replace(m, body=m.body + b" "),
        lambda m: with_header(m, "content-type", "application/x-ndjson"),
        lambda m: with_header(m, "idempotency-key", "batch-2"),
        lambda m: with_header(m, "content-digest", None),
        lambda m: with_header(m, "content-digest", "md5=:AAAA:"),
        lambda m: with_header(m, "content-digest", "sha-256=x"),
        lambda m: with_header(m, "signature", None),
        lambda m: with_header(m, "signature-input", None),
        lambda m: with_header(m, "content-encoding", "gzip"),  # by a proxy, not covered
    ],
)
def test_whatever_is_changed_is_noticed(change: Callable[[SignedMessage], SignedMessage]) -> None:
    assert not check(change(signed()))


@pytest.mark.parametrize("name", ["signature", "signature-input", "content-digest", "idempotency-key"])
def test_every_bit_of_every_signed_header_counts(name: str) -> None:
    message = signed()
    value = next(v for k, v in message.headers.items() if k.lower() == name)
    for place in range(len(value)):
        for bit in range(7):
            changed = value[:place] + chr(ord(value[place]) ^ 1 << bit) + value[place + 1 :]
            if _same_meaning(name, value, changed, place):
                continue
            assert not check(with_header(message, name, changed)), (place, bit, changed)


def _same_meaning(name: str, value: str, changed: str, place: int) -> bool:
    # A field's value has no leading or trailing space, and base64 padding bits carry nothing.
    padding = value.rfind("=:") - 1
    return changed.strip() == value or (name in {"signature", "content-digest"} and place == padding)


def test_freshness_is_five_minutes_either_way() -> None:
    message = signed()
    assert check(message, now=NOW_SECONDS + 300)
    assert check(message, now=NOW_SECONDS - 300)
    assert not check(message, now=NOW_SECONDS + 301)
    assert not check(message, now=NOW_SECONDS - 301)


def test_expiry_is_kept_and_bounded() -> None:
    message = signed(expires=NOW + timedelta(seconds=10))
    assert check(message, now=NOW_SECONDS + 10)
    assert not check(message, now=NOW_SECONDS + 11)
    assert not check(signed(expires=NOW + timedelta(seconds=301)))


@pytest.mark.parametrize(("length", "good"), [(15, False), (16, True), (64, True), (65, False)])
def test_a_nonce_has_16_to_64_characters(length: int, good: bool) -> None:  # noqa: FBT001 - parametrised
    assert check(signed(nonce="n" * length)) is good


def test_another_tag_or_key_does_not_verify() -> None:
    assert not check(signed(tag="guardhouse-agent"))
    assert not check(signed(), key=bytes(32))


def test_an_old_signature_behind_a_forged_line_is_a_replay() -> None:
    """Two lines of one field are one value (RFC 9110 §5.3); judging the first alone would lend it freshness."""
    old = signed()
    lines = [(k.lower().encode(), v.encode()) for k, v in old.headers.items()]
    true_input = next(v for k, v in lines if k == b"signature-input").decode()
    later = NOW_SECONDS + 86_400
    forged = true_input.replace(f"created={NOW_SECONDS}", f"created={later}").replace('nonce="', 'nonce="x')
    assert forged != true_input
    for pair in ([forged, true_input], [true_input, forged]):
        raw = [(k, v) for k, v in lines if k != b"signature-input"]
        raw += [(b"signature-input", value.encode()) for value in pair]
        assert not check(replace(old, headers=Headers(raw=raw)), now=later)


def test_two_signatures_with_the_tag_are_refused() -> None:
    message = signed()
    both = {
        name: f"{value}, {value.replace('sig1', 'sig2', 1)}"
        if name.lower().startswith("signature")
        else value
        for name, value in message.headers.items()
    }
    assert not check(replace(message, headers=both))


HOSTILE = [
    "", "sig1", "sig1=()", "sig1=1", "sig1=(1 2 ?1)", 'sig1=("@method";req "@path")', "sig1=:AA==:",
    'sig1=("@nothing");created=1', 'sig1=("@query-param";name="a")', "\x00", "sig1=(", "sig1=((", "é",
    'sig1=("@method");created=99999999999999999999', 'sig1=("@method" "@method")',
]  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("name", ["signature-input", "signature", "content-digest"])
def test_hostile_fields_are_refused_and_nothing_else(name: str, value: str) -> None:
    assert not check(with_header(signed(), name, value))


@pytest.mark.parametrize(
    "extra",
    [
        '"@status"',
        '"@foo"',
        '"x-absent"',
        '"@query-param"',
        '"@request-response"',
        "5",
        "tok",
        "?1",
        ":AA==:",
    ],
)
def test_hostile_components_are_refused_and_nothing_else(extra: str) -> None:
    message = signed()
    given = next(v for k, v in message.headers.items() if k.lower() == "signature-input")
    assert not check(with_header(message, "signature-input", given.replace("(", f"({extra} ", 1)))


@given(st.text(max_size=200), st.sampled_from(["signature-input", "signature", "content-digest"]))
def test_no_text_in_a_field_raises_anything_else(value: str, name: str) -> None:
    assert not check(with_header(signed(), name, value))
