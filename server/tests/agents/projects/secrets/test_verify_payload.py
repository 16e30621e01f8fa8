"""Payload signatures: both forms, both secrets, the modes of a project."""

import gzip
import hmac
import json
from pathlib import Path
from uuid import UUID

import pytest

from guardhouse.agents.projects.secrets.verify_payload import (
    SignatureInvalid,
    SignatureMissing,
    Verified,
    verify_payload,
)

VECTOR = json.loads(
    (Path(__file__).parents[5] / "contract/vectors/agents/payload_signature.json").read_text(encoding="utf-8")
)
BODY: bytes = VECTOR["body"].encode()
WIRE = gzip.compress(BODY, mtime=0)
ACTIVE, PREVIOUS = (UUID(int=1), b"topsecret"), (UUID(int=2), b"yesterday's secret")
BOTH = [ACTIVE, PREVIOUS]


def signed(secret: bytes, body: bytes) -> str:
    return "v1=" + hmac.digest(secret, body, "sha256").hex()


def test_the_vector() -> None:
    found = verify_payload(VECTOR["header"], "required", BODY, BODY, BOTH)
    assert found == Verified(signature_form="either", used=(ACTIVE[0],))


@pytest.mark.parametrize("secret", BOTH)
@pytest.mark.parametrize(("form", "body"), [("json", BODY), ("wire", WIRE)])
def test_both_forms_with_both_secrets(secret: tuple[UUID, bytes], form: str, body: bytes) -> None:
    found = verify_payload(signed(secret[1], body), "if_present", WIRE, BODY, BOTH)
    assert (found.signature_form, found.used) == (form, (secret[0],))


def test_hex_may_be_in_upper_case() -> None:
    header = "v1=" + signed(ACTIVE[1], BODY)[3:].upper()
    assert verify_payload(header, "if_present", WIRE, BODY, BOTH).signature_form == "json"


@pytest.mark.parametrize("mode", ["if_present", "required"])
@pytest.mark.parametrize(
    "header",
    [
        "",
        "v1=",
        signed(ACTIVE[1], BODY)[3:],
        "v2=" + signed(ACTIVE[1], BODY)[3:],
        signed(ACTIVE[1], BODY)[:-1],
        signed(ACTIVE[1], BODY) + "0",
        signed(ACTIVE[1], BODY + b" "),
        signed(b"another", BODY),
        "v1=" + "é" * 64,
    ],
)
def test_what_does_not_fit_is_refused(mode: str, header: str) -> None:
    with pytest.raises(SignatureInvalid):
        verify_payload(header, mode, WIRE, BODY, BOTH)  # type: ignore[arg-type]  # a literal, as a parameter


def test_the_modes() -> None:
    good = signed(ACTIVE[1], BODY)
    assert verify_payload("v1=nonsense", "off", BODY, BODY, BOTH) == Verified()
    assert verify_payload(None, "if_present", BODY, BODY, BOTH) == Verified()
    with pytest.raises(SignatureMissing):
        verify_payload(None, "required", BODY, BODY, BOTH)
    assert verify_payload(good, "if_present", BODY, BODY, []) == Verified(remarks=("unverified",))
    with pytest.raises(SignatureInvalid):
        verify_payload(good, "required", BODY, BODY, [])
