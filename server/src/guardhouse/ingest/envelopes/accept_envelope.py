"""A sealed envelope: opened and taken as the batch that is in it, or held until its key is stored.

An envelope is sealed anew at each try of a client, so what was held twice is told apart when it is opened.
"""

import asyncio
import hashlib
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from guardhouse.agents.instances.note_contact import note_contact
from guardhouse.agents.instances.sender import Sender
from guardhouse.agents.instances.store import Place
from guardhouse.agents.projects.secrets.issue_secret import load_secrets, note_use
from guardhouse.agents.projects.secrets.open_envelope import EnvelopeMalformed, open_envelope, read_payload
from guardhouse.agents.projects.secrets.verify_payload import Verified
from guardhouse.agents.resolve_project import resolve_project
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.request import tenant_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.identity.caller import Caller
from guardhouse.ingest import store as intake
from guardhouse.ingest.accept_app import (
    MAX_ITEMS,
    MEMBERS,
    AppRequest,
    accept_app,
    batch_id_of,
    keep_malformed,
)
from guardhouse.ingest.check_payload import insist, verify
from guardhouse.ingest.contact_of import contact_of
from guardhouse.ingest.decode_body import decode_member, split_body
from guardhouse.ingest.decode_lenient import Cut, MalformedBody, Unreadable, decode_item
from guardhouse.ingest.envelopes import store
from guardhouse.ingest.envelopes.store import Envelope
from guardhouse.ingest.parse_telemetry import Parsed
from guardhouse.ingest.quota import Meter
from guardhouse.ingest.read_body import RawBody
from guardhouse.ingest.store import Owner, Receipt
from guardhouse.ingest.wire import AppAnswer
from guardhouse.notices.agent_kinds import AgentUndecryptable
from guardhouse.notices.publish import Origin, publish

PAYLOAD: Final = "encrypted_payload"
AROUND: Final = (
    "batch_id", "agent_version", "guard_version", "guard_core_version", "instance_id", "seq", "ledger", "project_id",
)  # fmt: skip
"""What an envelope says outside of its payload, and is kept with it."""
HELD_ENVELOPES: Final = 1000
HELD_BYTES: Final = 64 << 20
_AT_ONCE_BYTES: Final = 256 << 10  # more is opened beside the event loop


class EncryptionOff(Problem):
    """The project takes plain bodies only."""

    status, code, title = 403, "encryption_off", "Encryption off"
    remediation = "Set the project's `encryption` to `allowed`, or take the key out of the application."


class EncryptionKeyUnknown(Problem):
    """No key of the project opens the envelope, and no more of them are held."""

    status, code, title = 403, "encryption_key_unknown", "Encryption key unknown"
    remediation = "Store the application's key with POST /projects/{id}/encryption-keys, or change it there."


@dataclass(frozen=True, slots=True)
class EnvelopeRequest:
    """An envelope as it came; all but ``caller``, ``body`` and ``meter`` is what the headers say."""

    caller: Caller
    body: RawBody
    project: str | None
    sender: Sender
    signature: str | None
    idempotency_key: str | None
    meter: Meter


async def accept_envelope(resources: Resources, request: EnvelopeRequest) -> tuple[AppAnswer, bool]:
    """Take what an envelope holds, or hold it; returns the answer, and whether it replays an earlier one.

    Raises:
        EnvelopeMalformed: there is no payload in it.
        MalformedBody: what is in it is no batch.
        Problem: the project is refused or takes no envelopes, the signature does not fit, or too many are held.
    """
    caller = request.caller
    try:
        cut = split_body(request.body.content, (), max_items=0)
        payload = _payload(cut)
    except (MalformedBody, EnvelopeMalformed) as problem:
        problem.raw = problem.raw or request.body.content
        if problem.raw:
            await keep_malformed(resources, caller, request.sender, request.project, problem)
        raise
    async with tenant_transaction(resources, caller.tenant) as tx:
        project = await resolve_project(
            tx,
            resources.clock,
            caller.tenant,
            bound=caller.project_id,
            named=request.project,
            by=caller.actor,
        )
        keys, secrets = [
            await load_secrets(tx, resources.master_key, caller.tenant, project, kind)
            for kind in ("encryption", "signing")
        ]
    settings = project.settings
    if settings.encryption == "off":
        raise EncryptionOff("This project takes no sealed envelopes.")
    verified = await verify(request.signature, settings.signature, request.body, secrets)
    verified = replace(verified, encrypted=True)
    insist(settings, verified)
    if len(payload) < _AT_ONCE_BYTES:
        opened = open_envelope(payload, keys)
    else:
        opened = await asyncio.to_thread(open_envelope, payload, keys)
    if opened is None:
        return await _hold(resources, request, payload, cut, verified)
    plain, key_id = opened
    verified = replace(verified, used=(*verified.used, key_id))
    try:
        inner = read_opened(plain, cut)
    except MalformedBody as problem:
        await keep_malformed(resources, caller, request.sender, request.project, problem, verified)
        raise
    batch = AppRequest(
        caller=caller,
        content=plain,
        cut=inner,
        project=request.project,
        sender=request.sender,
        idempotency_key=request.idempotency_key,
        verified=verified,
        meter=request.meter,
    )
    return await accept_app(resources, batch)


def read_opened(plain: bytes, outer: Cut) -> Cut:
    """Return the batch that was in an envelope, with what the envelope says around it.

    Raises:
        MalformedBody: it is no batch.
    """
    inner = split_body(plain, MEMBERS, max_items=MAX_ITEMS)
    return Cut(inner.members | _around(outer), inner.items)


def _around(outer: Cut) -> dict[str, bytes]:
    said = {name: decode_member(outer, name) for name in AROUND}
    return {name: msgspec.json.encode(value) for name, value in said.items() if value is not None}


def _payload(cut: Cut) -> bytes:
    try:
        return read_payload(decode_item(cut.members.get(PAYLOAD, b"null")))
    except Unreadable:
        raise EnvelopeMalformed(f"`{PAYLOAD}` cannot be read.") from None


async def _hold(
    resources: Resources, request: EnvelopeRequest, payload: bytes, cut: Cut, verified: Verified
) -> tuple[AppAnswer, bool]:
    """Keep an envelope that no key opens; the same one a second time is a duplicate.

    Raises:
        EncryptionKeyUnknown: as many as may be are held already.
    """
    caller, now = request.caller, resources.clock.now()
    batch_id = batch_id_of(cut)
    answer = AppAnswer(batch_id=batch_id, server_time=rfc3339(now))
    async with tenant_transaction(resources, caller.tenant) as tx:
        project = await resolve_project(
            tx,
            resources.clock,
            caller.tenant,
            bound=caller.project_id,
            named=request.project,
            by=caller.actor,
        )
        owner = Owner(caller.tenant.no, project.no)
        held = await store.lock_held(tx, owner)
        receipt = Receipt(batch_id or "", hashlib.sha256(payload).digest(), None, 1)
        if not await intake.claim_receipt(tx, owner, receipt, now):
            answer.duplicates = 1
            return answer, True
        if held.envelopes >= HELD_ENVELOPES or held.bytes + len(payload) > HELD_BYTES:
            raise EncryptionKeyUnknown("No key of the project opens the envelope, and no more are held.")
        envelope = Envelope(_around(cut), msgspec.json.encode(request.sender), payload)
        await store.add_held(tx, owner, envelope, now)
        for secret_id in verified.used:
            await note_use(tx, caller.tenant.id, secret_id, now)
        _note(tx, resources, request, cut, Place(caller.tenant, project.no, project.id, now), verified)
        if not held.envelopes:
            said = AgentUndecryptable(project_id=project.id, project=project.slug)
            origin = Origin(project_id=project.id)
            await publish(tx, said, tenant_id=caller.tenant.id, subject_seq=0, origin=origin)
    answer.held = 1
    return answer, False


def _note(
    tx: Tx, resources: Resources, request: EnvelopeRequest, cut: Cut, place: Place, verified: Verified
) -> None:
    """Note that a process was heard whose batch nobody can read yet; what is in it counts when it is opened."""
    installation = request.sender.installation_in(
        place.tenant.id, place.project_id, resources.peppers[0].value
    )
    contact = contact_of(request.sender, installation, cut, Parsed(place.at), named=request.project)
    contact.batches = 0
    contact.remarks += [*verified.remarks, "undecryptable"]
    contact.signature_form = verified.signature_form
    contact.encryption = "sealed"
    note_contact(tx, place, contact)
