"""Answers of the OTLP doors: an empty response, a partial success, or a ``google.rpc.Status``, as the request was."""

from typing import Any, Final

import msgspec
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from starlette.responses import Response

from guardhouse.foundation.errors import Problem
from guardhouse.ingest.otlp.accept_export import Outcome
from guardhouse.ingest.otlp.decode import JSON, PROTOBUF
from guardhouse.ingest.otlp.signal import Signal

_RPC_CODES: Final = {400: 3, 401: 16, 403: 7, 404: 5, 408: 4, 413: 3, 415: 3, 422: 3, 429: 8, 503: 14}
_INTERNAL: Final = 13


def success(signal: Signal, media_type: str, outcome: Outcome) -> Response:
    """Return the answer to an export that was stored, as far as it was."""
    message: Any = signal.response()
    if outcome.refused:
        setattr(message.partial_success, signal.rejected, outcome.refused)
        message.partial_success.error_message = outcome.why
    if media_type == JSON:
        return Response(json_format.MessageToJson(message, indent=None), media_type=JSON)
    return Response(message.SerializeToString(), media_type=PROTOBUF)


def failure(problem: Problem, media_type: str) -> Response:
    """Return a refusal the way clients of OTLP read it."""
    code = _RPC_CODES.get(problem.status, _INTERNAL)
    said = f"{problem.code}: {problem.detail} {problem.advice}"
    headers = dict(problem.headers)
    if media_type == JSON:
        content = msgspec.json.encode({"code": code, "message": said})
    else:
        content = Status(code=code, message=said).SerializeToString()
    return Response(content, problem.status, headers=headers, media_type=media_type)
