"""Envelopes: the vector, spellings of base64, and what is none."""

import base64
import json
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.agents.projects.secrets.issue_secret import read_secret
from guardhouse.agents.projects.secrets.open_envelope import EnvelopeMalformed, open_envelope, read_payload

VECTOR = json.loads(
    (Path(__file__).parents[5] / "contract/vectors/agents/envelope.json").read_text(encoding="utf-8")
)
KEY = read_secret("encryption", VECTOR["key"])
OTHER = bytes(reversed(KEY))


def test_the_vector() -> None:
    payload = read_payload(VECTOR["encrypted_payload"])
    assert payload[:12].hex() == VECTOR["nonce_hex"]
    opened = open_envelope(payload, [(UUID(int=1), OTHER), (UUID(int=2), KEY)])
    assert opened == (VECTOR["plaintext"].encode(), UUID(int=2))
    assert open_envelope(payload, [(UUID(int=1), OTHER)]) is None
    assert open_envelope(payload, []) is None


@given(st.binary(max_size=200), st.binary(min_size=12, max_size=12))
def test_any_spelling_of_base64_is_read(plain: bytes, nonce: bytes) -> None:
    payload = nonce + AESGCM(KEY).encrypt(nonce, plain, None)
    for text in (
        base64.urlsafe_b64encode(payload).decode(),
        base64.urlsafe_b64encode(payload).decode().rstrip("="),
        base64.b64encode(payload).decode(),
    ):
        assert read_payload(text) == payload
    assert open_envelope(payload, [(UUID(int=1), KEY)]) == (plain, UUID(int=1))


@given(st.binary(min_size=1, max_size=60), st.integers(min_value=0))
def test_one_bit_changed_and_nothing_opens_it(plain: bytes, bit: int) -> None:
    nonce = b"\0" * 12
    payload = bytearray(nonce + AESGCM(KEY).encrypt(nonce, plain, None))
    bit %= len(payload) * 8
    payload[bit // 8] ^= 1 << bit % 8
    assert open_envelope(bytes(payload), [(UUID(int=1), KEY)]) is None


@pytest.mark.parametrize(
    "text", [None, 7, [], "", "not base64!", "ä" * 60, "A" * 36, "A" * 37, "AAAA AAAA" * 10, "=" * 80]
)
def test_what_is_no_payload_is_refused(text: object) -> None:
    with pytest.raises(EnvelopeMalformed):
        read_payload(text)
