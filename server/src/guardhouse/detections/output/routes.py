"""Routes of scans of answers: whole, and piece by piece."""

from typing import Annotated, Final

import msgspec
from fastapi import Depends, Request, Response

from guardhouse.detections.ask_engine import EngineBusy
from guardhouse.detections.desk import Desk, desk_of
from guardhouse.detections.output import scan_answer as whole
from guardhouse.detections.output import scan_piece as pieces
from guardhouse.detections.output.carry import CarryInvalid
from guardhouse.detections.output.read_output import read_piece, read_scan
from guardhouse.detections.output.wire import (
    OutputPieceRequest,
    OutputPieceShape,
    OutputRequest,
    OutputShape,
)
from guardhouse.detections.policies.in_force import PolicyNotFound
from guardhouse.detections.protected_texts.protect import ProtectedTextNotFound
from guardhouse.detections.read_request import (
    MemberInvalid,
    MetadataTooLarge,
    ObjectExpected,
    TextEmpty,
    TextRequired,
    TextTooLong,
    TextType,
    UnknownConfig,
)
from guardhouse.detections.usage_of import usage_of_scan
from guardhouse.foundation.body_docs import raw_body
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import JSON_TYPE, api_router
from guardhouse.identity.caller import Caller, Require

router = api_router("detections")
Asker = Annotated[Caller, Depends(Require("detect:write"))]
AtDesk = Annotated[Desk, Depends(desk_of)]
_REFUSALS: Final = (
    ObjectExpected,
    TextRequired,
    TextType,
    TextTooLong,
    UnknownConfig,
    MemberInvalid,
    MetadataTooLarge,
    PolicyNotFound,
    ProtectedTextNotFound,
    EngineBusy,
)


@router.post(
    "/detect/output",
    operation_id="scan_output",
    openapi_extra=raw_body({JSON_TYPE: (OutputRequest,)}, "The answer and what it must not repeat."),
    responses={
        200: {"model": OutputShape, "description": "What was found."},
        **refusals(*_REFUSALS, TextEmpty),
    },
)
async def scan_output(caller: Asker, desk: AtDesk, request: Request) -> Response:
    """Look at a model's answer before it leaves: canaries, repeated prompts, credentials, personal data, links.

    What is done about each kind is the policy's. Nothing of the text is stored.
    """
    wanted = read_scan(await request.body())
    policy = await desk.policies.in_force(caller, wanted.policy)
    done = await whole.scan_answer(desk, caller.tenant, policy, wanted)
    request.state.judged = usage_of_scan(done.decision, degraded=done.fallback_reason is not None)
    return Response(msgspec.json.encode(whole.answer(done)), media_type=JSON_TYPE)


@router.post(
    "/detect/output/stream",
    operation_id="scan_output_piece",
    openapi_extra=raw_body({JSON_TYPE: (OutputPieceRequest,)}, "The piece and what was carried to it."),
    responses={
        200: {"model": OutputPieceShape, "description": "What was found, and how much may be shown."},
        **refusals(*_REFUSALS, TextEmpty, CarryInvalid, pieces.ScanFailed),
    },
)
async def scan_output_piece(caller: Asker, desk: AtDesk, request: Request) -> Response:
    """Look at the next piece of an answer that is being streamed; the server keeps nothing between two pieces.

    However a text is cut, the same is found in it. Show what is released, hold back the rest, and stop at `block`.
    """
    wanted = read_piece(await request.body())
    policy = await desk.policies.in_force(caller, wanted.scan.policy)
    done = await pieces.scan_piece(desk, caller.tenant, policy, wanted)
    request.state.judged = usage_of_scan(done.decision, degraded=False)
    return Response(msgspec.json.encode(pieces.answer(done)), media_type=JSON_TYPE)
