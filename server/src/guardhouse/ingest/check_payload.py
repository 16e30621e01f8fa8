"""What a project insists on before it takes a body: a seal, a signature, or neither."""

import asyncio
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from guardhouse.agents.projects.secrets.issue_secret import load_secrets
from guardhouse.agents.projects.secrets.verify_payload import SignatureMissing, Verified, verify_payload
from guardhouse.agents.projects.settings import ProjectSettings, SignatureMode
from guardhouse.agents.resolve_project import resolve_project
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.request import tenant_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.identity.caller import Caller
from guardhouse.ingest.read_body import RawBody

UNCHECKED: Final = Verified()
SIGNATURE_HEADER: Final = "x-payload-signature"
_AT_ONCE_BYTES: Final = 256 << 10  # more is hashed beside the event loop


class EncryptionRequired(Problem):
    """The project takes sealed envelopes only."""

    status, code, title = 403, "encryption_required", "Encryption required"
    remediation = (
        "Set the project's encryption key in the application, or the project's `encryption` to `allowed`."
    )


def insist(settings: ProjectSettings, verified: Verified) -> None:
    """Hold a body against what its project insists on.

    Raises:
        EncryptionRequired: it came plain.
        SignatureMissing: it is not signed.
    """
    if settings.encryption == "required" and not verified.encrypted:
        raise EncryptionRequired("The body is not encrypted, and this project takes sealed envelopes only.")
    if settings.signature == "required" and verified.signature_form is None:
        raise SignatureMissing("The payload is not signed, and this project takes signed ones only.")


def is_enough(settings: ProjectSettings, verified: Verified) -> bool:
    """Tell whether a body shows what its project insists on."""
    try:
        insist(settings, verified)
    except (EncryptionRequired, SignatureMissing):
        return False
    return True


async def check_signature(
    resources: Resources, caller: Caller, named: str | None, body: RawBody, header: str | None
) -> Verified:
    """Return what the signature of a plain body shows; without one nothing is looked up. ``named``: its project.

    Raises:
        Problem: the signature does not fit, or the project is refused.
    """
    if header is None:
        return UNCHECKED
    async with tenant_transaction(resources, caller.tenant) as tx:
        project = await resolve_project(
            tx, resources.clock, caller.tenant, bound=caller.project_id, named=named, by=caller.actor
        )
        secrets = await load_secrets(tx, resources.master_key, caller.tenant, project, "signing")
    return await verify(header, project.settings.signature, body, secrets)


async def verify(
    header: str | None, mode: SignatureMode, body: RawBody, secrets: Sequence[tuple[UUID, bytes]]
) -> Verified:
    """Check a body's signature, a large one beside the event loop; as :func:`verify_payload`."""
    if len(body.content) < _AT_ONCE_BYTES:
        return verify_payload(header, mode, body.wire, body.content, secrets)
    return await asyncio.to_thread(verify_payload, header, mode, body.wire, body.content, secrets)
