"""The door for events of any kind. Credentials are judged before a byte of the body is read; nothing is redirected."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Request, Response

from guardhouse.anomalies.streams.append import StreamBehind, StreamDeleted, StreamPaused
from guardhouse.foundation.body_docs import raw_body
from guardhouse.foundation.errors import (
    BodyTooLarge,
    NotFound,
    RequestTimeout,
    Unavailable,
    UnsupportedCoding,
    UnsupportedMediaType,
)
from guardhouse.foundation.idempotency import (
    Call,
    IdempotencyInProgress,
    IdempotencyKeyInvalid,
    IdempotencyKeyReused,
    fingerprint,
    read_key,
)
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import StrictRoute, resources_of
from guardhouse.identity.caller import Caller, identify
from guardhouse.identity.refusals import ApiKeyMissing, ScopeMissing
from guardhouse.ingest.decode_lenient import MalformedBody
from guardhouse.ingest.generic.accept_events import NDJSON, Batch, EventsRejected, accept_events
from guardhouse.ingest.generic.read_events import EventsEmpty, TooManyEvents
from guardhouse.ingest.generic.wire import BatchAnswer, GenericBatch, GenericEvent
from guardhouse.ingest.read_body import CompressionBomb, Limits, read_body

SCOPE: Final = "telemetry:write"
JSON: Final = "application/json"
LIMITS: Final = Limits()
router = APIRouter(tags=["telemetry"], route_class=StrictRoute)


@router.post(
    "/api/v1/streams/{stream_id}/events",
    status_code=202,
    operation_id="send_stream_events",
    responses={
        202: {"model": BatchAnswer, "description": "All events stored, or stored before."},
        207: {"model": BatchAnswer, "description": "Some events were rejected; the others are stored."},
        **refusals(
            MalformedBody, EventsEmpty, EventsRejected, TooManyEvents, BodyTooLarge, CompressionBomb,
            UnsupportedCoding, UnsupportedMediaType, RequestTimeout, Unavailable, IdempotencyKeyInvalid,
            IdempotencyKeyReused, IdempotencyInProgress, ApiKeyMissing, ScopeMissing, NotFound, StreamPaused,
            StreamDeleted, StreamBehind,
        ),
    },
    openapi_extra=raw_body(
        {JSON: (GenericBatch,), NDJSON: (GenericEvent,)},
        "Plain, or with `Content-Encoding: gzip` or `zstd`. As NDJSON: one event per line.",
    )
    | {"security": [{"ApiKey": [SCOPE]}, {"Bearer": [SCOPE]}]},
)  # fmt: skip
async def send_stream_events(
    request: Request,
    stream_id: Annotated[str, Path(max_length=80, description="Id or slug.", examples=["logs"])],
) -> Response:
    """Store events in a stream, in the order given; each event that is not stored is named with the rule it breaks."""
    caller = await identify(request, metered=False)  # how far a stream is behind is the limit of telemetry
    caller.need(SCOPE)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (JSON, NDJSON):
        raise UnsupportedMediaType(
            f"Events are {JSON} or {NDJSON}, not {media_type[:100] or 'without a Content-Type'}.",
            supported=[JSON, NDJSON],
        )
    async with read_body(request, LIMITS) as body:
        call = _call(request, caller, media_type, body.content)
        batch = Batch(caller, stream_id, body.content, media_type, call)
        answer, replayed = await accept_events(resources_of(request), batch)
    headers = dict(answer.headers) | ({"Idempotency-Replayed": "true"} if replayed else {})
    return Response(answer.body, answer.status, headers=headers)


def _call(request: Request, caller: Caller, media_type: str, content: bytes) -> Call | None:
    key = read_key(request.headers.getlist("idempotency-key"))
    if key is None:
        return None
    asked = fingerprint(b"POST", request.scope["path"].encode(), media_type.encode(), content)
    return Call(caller.tenant, request.scope["route"].path, key, asked)
