import base64
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms
from hypothesis import given
from hypothesis import strategies as st

from guard_agent.watch.sign import (
    AgentKey,
    KeyUnreadableError,
    Moment,
    authority,
    components,
    content_digest,
    parameters,
    read_key,
    sign,
    sign_legacy,
    signature_base,
)

VECTORS = Path(__file__).parents[3] / "contract" / "vectors"


def load(name: str) -> dict[str, Any]:
    vector: dict[str, Any] = json.loads((VECTORS / name).read_text())
    return vector


def test_rfc9421_vector_is_reproduced_to_the_byte() -> None:
    vector = load("signature_rfc9421.json")
    key = AgentKey(vector["keyid"], bytes.fromhex(vector["key_hex"]))
    moment = Moment(vector["created"], vector["nonce"], vector["expires"])
    covered = components(vector["url"], vector["headers"])

    assert content_digest(vector["body"].encode()) == vector["headers"]["content-digest"]
    assert (
        signature_base(covered, parameters([n for n, _ in covered], key.key_id, moment))
        == vector["signature_base"]
    )
    signed = sign(vector["url"], vector["headers"], key, moment)
    assert signed == {"signature-input": vector["signature_input"], "signature": vector["signature"]}


def test_legacy_vector_is_reproduced() -> None:
    vector = load("signature_legacy.json")
    assert bytes.fromhex(vector["key_hex"]) == vector["key_text"].encode()
    assert sign_legacy(bytes.fromhex(vector["key_hex"]), vector["body"].encode()) == vector["signature"]


def test_query_and_coding_are_covered_when_they_are_there() -> None:
    headers = {"content-type": "a/b", "content-digest": "d", "content-encoding": "gzip", "x-other": "no"}
    names = [name for name, _ in components("http://h:8000/p?b=1", headers)]
    assert names == [
        "@method",
        "@authority",
        "@path",
        "@query",
        "content-type",
        "content-digest",
        "content-encoding",
    ]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://Guard.Example/x", "guard.example"),
        ("https://guard.example:443/x", "guard.example"),
        ("http://guard.example:80/x", "guard.example"),
        ("http://guard.example:443/x", "guard.example:443"),
        ("http://127.0.0.1:8000/x", "127.0.0.1:8000"),
        ("http://[::1]:8000/x", "[::1]:8000"),
        ("http://[::1]/x", "[::1]"),
    ],
)
def test_authority_is_normal(url: str, expected: str) -> None:
    assert authority(url) == expected


@given(st.binary(min_size=32, max_size=32), st.booleans())
def test_key_text_round_trip(secret: bytes, padded: bool) -> None:  # noqa: FBT001 -- hypothesis passes it
    text = base64.urlsafe_b64encode(secret).decode()
    key = read_key("web:1:7:" + (text if padded else text.rstrip("=")))
    assert (key.agent_id, key.key_id, key.secret) == ("web:1", "web:1:7", secret)
    assert text.rstrip("=") not in repr(key)


@pytest.mark.parametrize(
    "text", ["", "web-1", "web-1:1", "web-1:x:AAAA", ":1:AAAA", "web-1:1:AA", "web-1:1:****"]
)
def test_key_of_another_form_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(KeyUnreadableError) as caught:
        read_key(text)
    assert not text or text not in str(caught.value)


def test_independent_library_verifies_our_signature() -> None:
    key = AgentKey("web-1:1", bytes(range(32)))
    url = "http://127.0.0.1:8000/api/v1/events"
    headers = {
        "content-type": "application/json",
        "content-digest": content_digest(b"{}"),
        "idempotency-key": "k1",
    }
    now = int(time.time())  # the library compares with the clock
    headers |= sign(url, headers, key, Moment(now, "n" * 16, now + 300))

    class Resolver(HTTPSignatureKeyResolver):
        def resolve_public_key(self, key_id: str) -> bytes:
            assert key_id == "web-1:1"
            return key.secret

    message = SimpleNamespace(method="POST", url=url, headers=headers)
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=Resolver())
    (result,) = verifier.verify(message)
    assert [name.strip('"') for name in result.covered_components if name != '"@signature-params"'] == [
        "@method", "@authority", "@path", "content-type", "content-digest", "idempotency-key",
    ]  # fmt: skip
