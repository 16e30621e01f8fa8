"""Signatures against the published vectors and the public library, and what it must refuse."""

import base64
import json
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from guardhouse.webhooks import sign
from guardhouse.webhooks.sign import SigningKeys

VECTORS = json.loads(
    (Path(__file__).parents[3] / "contract" / "vectors" / "webhook.json").read_text(encoding="utf-8")
)
BODY = b'{"type":"key.revoked","data":{"a":1, "b":2}}'


def signed(body: bytes, *secrets: str, private: bytes | None = None) -> dict[str, str]:
    key = None if private is None else Ed25519PrivateKey.from_private_bytes(private)
    keys = SigningKeys([sign.key_of(secret) for secret in secrets], key)
    timestamp = int(time.time())
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign.signature(keys, "msg_1", timestamp, body),
    }


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=lambda vector: vector["name"])
def test_the_published_vectors(vector: dict[str, Any]) -> None:
    private = vector.get("private_key")
    key = private and Ed25519PrivateKey.from_private_bytes(
        base64.b64decode(private.removeprefix(sign.PRIVATE_PREFIX))
    )
    keys = SigningKeys([sign.key_of(secret) for secret in vector["secrets"]], key)
    body, sent = vector["body"].encode(), vector["headers"]
    sent_id = sign.webhook_id(UUID(vector["message_id"]))
    assert sent_id == sent["webhook-id"]
    assert sign.signature(keys, sent_id, int(sent["webhook-timestamp"]), body) == sent["webhook-signature"]
    assert sign.body_signature(keys.symmetric[0], body) == sent["x-signature"]


@given(
    value=st.recursive(st.none() | st.integers() | st.text(), st.lists),
    key=st.binary(min_size=16, max_size=48),
)
def test_the_public_library_verifies_what_we_sign(value: Any, key: bytes) -> None:
    secret = sign.SECRET_PREFIX + base64.b64encode(key).decode()
    body = json.dumps({"data": value}).encode()
    assert Webhook(secret).verify(body, signed(body, secret)) == {"data": value}


def test_both_secrets_of_a_rotation_verify_also_beside_the_asymmetric_token() -> None:
    old, new = sign.new_secret(), sign.new_secret()
    private, public = sign.new_private_key()
    headers = signed(BODY, new, old, private=private)
    for secret in (new, old):
        Webhook(secret).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(sign.new_secret()).verify(BODY, headers)
    token = headers["webhook-signature"].split()[-1]
    assert token.startswith("v1a,")
    raw = base64.b64decode(public.removeprefix(sign.PUBLIC_PREFIX))
    content = sign.signed_content("msg_1", int(headers["webhook-timestamp"]), BODY)
    Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(token[4:]), content)
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(token[4:]), content + b" ")


def test_a_body_serialised_again_does_not_verify() -> None:
    secret = sign.new_secret()
    headers = signed(BODY, secret)
    Webhook(secret).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(json.dumps(json.loads(BODY)).encode(), headers)


def test_a_secret_of_the_clients_own_is_its_utf8_bytes() -> None:
    assert sign.key_of("correct horse battery") == b"correct horse battery"
    assert sign.key_of("whsec_not base64 at all") == b"whsec_not base64 at all"
    assert sign.key_of("whsec_" + base64.b64encode(bytes(24)).decode()) == bytes(24)
    assert len(sign.key_of(sign.new_secret())) == sign.SECRET_BYTES
    assert sign.new_secret() != sign.new_secret()
