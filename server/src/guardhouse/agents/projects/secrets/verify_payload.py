"""`X-Payload-Signature: v1=<64 hex>`: HMAC-SHA256 of a body, by the secret that an application shares with us.

Released agents signed what went over the wire in some versions and the JSON before compression in others, so both
forms are tried, with every good secret.
"""

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from guardhouse.agents.projects.settings import SignatureMode
from guardhouse.identity.refusals import Unauthenticated

SignatureForm = Literal["wire", "json", "either"]
_FORM: Final = re.compile(r"v1=([0-9A-Fa-f]{64})")
UNVERIFIED: Final = "unverified"


class SignatureInvalid(Unauthenticated):
    """The payload's signature fits no secret of the project, or is of an unknown form."""

    status, code, title = 401, "signature_invalid", "Signature invalid"
    remediation = (
        "Sign with the project's active signing secret: `v1=` and the hex of HMAC-SHA256 over the JSON body."
    )


class SignatureMissing(Unauthenticated):
    """The project takes signed payloads only."""

    status, code, title = 401, "signature_missing", "Signature missing"
    remediation = (
        "Set the project's signing secret in the application, or the project's `signature` to `if_present`."
    )


@dataclass(frozen=True, slots=True)
class Verified:
    """What is known of a body beside what it says.

    ``signature_form``: which bytes the good signature covers, ``either`` when both are the same, None when none was
    checked.
    ``remarks``: for the page of the instance that sent it. ``used``: the secrets that fitted, by id.
    """

    signature_form: SignatureForm | None = None
    encrypted: bool = False
    remarks: tuple[str, ...] = ()
    used: tuple[UUID, ...] = ()


def verify_payload(
    header: str | None,
    mode: SignatureMode,
    wire: bytes,
    content: bytes,
    secrets: Sequence[tuple[UUID, bytes]],
) -> Verified:
    """Check a signature. ``wire`` is the body as sent, ``content`` as decompressed; secrets come with their ids.

    Raises:
        SignatureInvalid: there is one and it does not fit, or nothing is there to check a required one with.
        SignatureMissing: there is none, and the project insists.
    """
    if mode == "off":
        return Verified()
    if header is None:
        if mode == "required":
            raise SignatureMissing("The payload is not signed, and this project takes signed ones only.")
        return Verified()
    if not secrets:
        if mode == "required":
            raise SignatureInvalid("The project has no signing secret to check the payload with.")
        return Verified(remarks=(UNVERIFIED,))
    found = _FORM.fullmatch(header.strip())
    given = bytes.fromhex(found[1]) if found else b""
    fits: list[tuple[SignatureForm, UUID]] = []
    for secret_id, secret in secrets:
        forms: tuple[tuple[SignatureForm, bytes], ...] = (("json", content), ("wire", wire))
        for form, signed in (("either", content),) if wire == content else forms:
            if hmac.compare_digest(hmac.digest(secret, signed, "sha256"), given):
                fits.append((form, secret_id))
    if not fits:
        raise SignatureInvalid("The payload's signature does not fit.")
    form, secret_id = fits[0]
    return Verified(signature_form=form, used=(secret_id,))
