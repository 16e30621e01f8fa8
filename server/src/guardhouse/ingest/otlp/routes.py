"""The OTLP doors: what refuses a request here is told as clients of OTLP read it, not as a problem document."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from guardhouse.anomalies.streams.append import StreamBehind
from guardhouse.foundation.body_docs import raw_body
from guardhouse.foundation.errors import (
    BodyTooLarge,
    Problem,
    RequestTimeout,
    Unavailable,
    UnsupportedCoding,
    UnsupportedMediaType,
)
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import StrictRoute, resources_of
from guardhouse.identity.caller import identify
from guardhouse.identity.refusals import ApiKeyMissing, ScopeMissing
from guardhouse.ingest.decode_lenient import MalformedBody
from guardhouse.ingest.otlp.accept_export import accept_export
from guardhouse.ingest.otlp.answer import failure, success
from guardhouse.ingest.otlp.counters import REQUESTS
from guardhouse.ingest.otlp.decode import JSON, PROTOBUF, media_type_of
from guardhouse.ingest.otlp.signal import LOGS, METRICS, TRACES, Signal
from guardhouse.ingest.otlp.wire import OtlpExport, OtlpStatus
from guardhouse.ingest.read_body import CompressionBomb, Limits, read_body

SCOPE: Final = "telemetry:write"
LIMITS: Final = Limits()
_BYTES: Final = {"type": "string", "format": "binary"}
_EXPORT_BODY: Final = raw_body({JSON: (OtlpExport,)}, "")["requestBody"]["content"][JSON]
_STATUS_BODY: Final = raw_body({JSON: (OtlpStatus,)}, "")["requestBody"]["content"][JSON]
_SAID: Final = {PROTOBUF: {"schema": _BYTES}, JSON: _STATUS_BODY}


class OtlpRoute(StrictRoute):
    """A route whose refusals are a ``google.rpc.Status`` in the encoding of the request."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the strict handler."""
        handle = super().get_route_handler()

        async def told(request: Request) -> Response:
            media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            try:
                response = await handle(request)
            except Problem as problem:
                response = failure(problem, JSON if media_type == JSON else PROTOBUF)
            encoding = "json" if media_type == JSON else "protobuf"
            REQUESTS.labels(
                request.scope["route"].name.removeprefix("export_"), encoding, response.status_code
            ).inc()
            return response

        return told


router = APIRouter(prefix="/otlp/v1", tags=["telemetry"], route_class=OtlpRoute)


def _described(signal: Signal) -> dict[str, Any]:
    refused = refusals(
        MalformedBody, BodyTooLarge, CompressionBomb, UnsupportedCoding, UnsupportedMediaType, RequestTimeout,
        Unavailable, ApiKeyMissing, ScopeMissing, StreamBehind,
    )  # fmt: skip
    for response in refused.values():
        response["content"] = dict(_SAID)
    response_name = signal.response.DESCRIPTOR.name
    return {
        "responses": {
            200: {
                "description": f"Stored; an {response_name}, with `partialSuccess` where records were refused.",
                "content": {PROTOBUF: {"schema": _BYTES}, JSON: _EXPORT_BODY},
            },
            **refused,
        },
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "description": f"An {signal.request.DESCRIPTOR.name}, plain, or under gzip or zstd.",
                "content": {PROTOBUF: {"schema": _BYTES}, JSON: _EXPORT_BODY},
            },
            "security": [{"ApiKey": [SCOPE]}, {"Bearer": [SCOPE]}],
        },
    }


@router.post("/logs", operation_id="export_logs", **_described(LOGS))
async def export_logs(request: Request) -> Response:
    """Take log records of OpenTelemetry. The stream is the service's, or the one that `guardhouse.stream` names."""
    return await _export(request, LOGS)


@router.post("/metrics", operation_id="export_metrics", **_described(METRICS))
async def export_metrics(request: Request) -> Response:
    """Take data points of OpenTelemetry. Each metric with its attributes is a series of its own."""
    return await _export(request, METRICS)


@router.post("/traces", operation_id="export_traces", **_described(TRACES))
async def export_traces(request: Request) -> Response:
    """Take spans of OpenTelemetry. A trace is a session, its spans are the session's steps."""
    return await _export(request, TRACES)


async def _export(request: Request, signal: Signal) -> Response:
    caller = await identify(request, metered=False)  # how far a stream is behind is the limit of telemetry
    caller.need(SCOPE)
    media_type = media_type_of(request.headers.get("content-type", ""))
    async with read_body(request, LIMITS) as body:
        outcome = await accept_export(resources_of(request), caller.tenant, signal, media_type, body.content)
    return success(signal, media_type, outcome)
