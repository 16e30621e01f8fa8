"""The door for sealed envelopes. Credentials are judged before a byte of the body is read; no redirect is ever sent."""

from typing import Final

from fastapi import APIRouter, Request, Response

from guardhouse.agents.projects.secrets.open_envelope import EnvelopeMalformed
from guardhouse.agents.projects.secrets.verify_payload import SignatureInvalid, SignatureMissing
from guardhouse.agents.resolve_project import ProjectMismatch, UnknownProject
from guardhouse.foundation.body_docs import raw_body
from guardhouse.foundation.errors import BodyTooLarge, RequestTimeout, Unavailable, UnsupportedCoding
from guardhouse.foundation.idempotency import IdempotencyKeyInvalid, IdempotencyKeyReused
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import StrictRoute, resources_of
from guardhouse.identity.caller import identify
from guardhouse.identity.refusals import ApiKeyMissing, ScopeMissing
from guardhouse.ingest.answer_app import JSON, answer_app, app_key
from guardhouse.ingest.check_payload import SIGNATURE_HEADER
from guardhouse.ingest.decode_lenient import MalformedBody
from guardhouse.ingest.envelopes.accept_envelope import (
    EncryptionKeyUnknown,
    EncryptionOff,
    EnvelopeRequest,
    accept_envelope,
)
from guardhouse.ingest.envelopes.wire import SealedEnvelope
from guardhouse.ingest.quota import TelemetryQuotaReached
from guardhouse.ingest.read_body import CompressionBomb, Limits, read_body
from guardhouse.ingest.sent_by import meter_of, named_project, sender_of_request
from guardhouse.ingest.wire import AppAnswerShape

SCOPE: Final = "telemetry:write"
LIMITS: Final = Limits()
router = APIRouter(tags=["telemetry"], route_class=StrictRoute)


@router.post(
    "/api/v1/events/encrypted",
    operation_id="send_envelope",
    responses={
        200: {"model": AppAnswerShape, "description": "Stored, or held until a key opens it."},
        **refusals(
            MalformedBody, EnvelopeMalformed, BodyTooLarge, CompressionBomb, UnsupportedCoding, RequestTimeout,
            Unavailable, IdempotencyKeyInvalid, IdempotencyKeyReused, ApiKeyMissing, ScopeMissing, ProjectMismatch,
            UnknownProject, EncryptionOff, EncryptionKeyUnknown, SignatureInvalid, SignatureMissing,
            TelemetryQuotaReached,
        ),
    },
    openapi_extra=raw_body({JSON: (SealedEnvelope,)}, "Plain, or with `Content-Encoding: gzip` or `zstd`.")
    | {"security": [{"ApiKey": [SCOPE]}, {"Bearer": [SCOPE]}]},
)  # fmt: skip
async def send_envelope(request: Request) -> Response:
    """Take a batch of an in-app agent that is sealed with its project's key; the headers name the project."""
    caller = await identify(request, metered=False)
    caller.need(SCOPE)
    meter = meter_of(request, caller, "envelopes")
    await meter.admit_request()
    async with read_body(request, LIMITS) as body:
        sealed = EnvelopeRequest(
            caller=caller,
            body=body,
            project=named_project(request),
            sender=sender_of_request(request, caller),
            signature=request.headers.get(SIGNATURE_HEADER),
            idempotency_key=app_key(request, body.content),
            meter=meter,
        )
        answer, replayed = await accept_envelope(resources_of(request), sealed)
    return answer_app(answer, replayed=replayed)
