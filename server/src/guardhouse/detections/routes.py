"""Routes of detections: judge a text, look at the engine."""

from typing import Annotated, Any, Final

import msgspec
from fastapi import Depends, Request, Response

from guardhouse.detections.ask_engine import EngineBusy
from guardhouse.detections.conversations.detect_input import detect_input
from guardhouse.detections.conversations.read_messages import UnknownRole
from guardhouse.detections.decide import POINTS
from guardhouse.detections.desk import Desk, desk_of
from guardhouse.detections.judge import Judged
from guardhouse.detections.model_file import model_sha256
from guardhouse.detections.policies.in_force import PolicyNotFound
from guardhouse.detections.read_request import (
    AmbiguousInput,
    MemberInvalid,
    MessagesEmpty,
    MetadataTooLarge,
    ObjectExpected,
    TextEmpty,
    TextRequired,
    TextTooLong,
    TextType,
    ThresholdRange,
    UnknownChoice,
    UnknownConfig,
    read_wanted,
)
from guardhouse.detections.record import NotRecorded, record
from guardhouse.detections.usage_of import usage_of
from guardhouse.detections.wire import (
    ConversationRequest,
    DetectionRequest,
    DetectionShape,
    DetectionThresholds,
    EngineShape,
    RemoteEngineShape,
)
from guardhouse.foundation.body_docs import raw_body
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import JSON_TYPE, api_router, two_step
from guardhouse.identity.caller import Caller, Require
from guardhouse.usage.rate_fields import DEGRADED
from guardhouse.webhooks.endpoints import WebhookUrlRefused, check_destination

router = api_router("detections")
Reader = Annotated[Caller, Depends(Require("detect:read"))]
Asker = Annotated[Caller, Depends(Require("detect:write"))]
AtDesk = Annotated[Desk, Depends(desk_of)]

_BODY: Final = raw_body(
    {JSON_TYPE: (DetectionRequest, ConversationRequest)}, "The text or the conversation, and how to judge it."
)


@router.post(
    "/detect",
    operation_id="detect_text",
    openapi_extra=_BODY,
    responses={
        200: {"model": DetectionShape, "description": "The verdict."},
        **refusals(
            ObjectExpected,
            TextRequired,
            AmbiguousInput,
            MessagesEmpty,
            UnknownRole,
            TextType,
            TextEmpty,
            TextTooLong,
            UnknownChoice,
            UnknownConfig,
            ThresholdRange,
            MemberInvalid,
            MetadataTooLarge,
            PolicyNotFound,
            EngineBusy,
            NotRecorded,
            WebhookUrlRefused,
        ),
    },
)
@two_step
async def detect_text(caller: Asker, desk: AtDesk, request: Request) -> Response:
    """Judge a text or a conversation: is it an attempt to turn a model against its user or its owner?

    Offline, by the engine that ships with the platform. Hidden and encoded parts are read and judged too. The verdict
    is recorded, the text only where the policy says so.
    """
    wanted = read_wanted(await request.body())
    if wanted.webhook_url is not None:
        await check_destination(desk.resources.outbound, wanted.webhook_url, "/webhook_url")
    policy = await desk.policies.in_force(caller, wanted.policy)
    found = await detect_input(desk, caller.tenant, policy, wanted)
    request.state.judged = usage_of([found])
    body = await record(desk, caller, found)
    return Response(msgspec.json.encode(body), headers=_degraded(found.judged), media_type=JSON_TYPE)


@router.get("/detect/engine", operation_id="get_detection_engine")
async def get_detection_engine(_caller: Reader, desk: AtDesk) -> EngineShape:
    """Show the engines: the model, its processes, how many texts wait, operating points; engines elsewhere."""
    engine = desk.engine
    return EngineShape(
        tiers=["fast"],
        processes=engine.processes,
        queue_depth=engine.waiting,
        artefact_sha256=model_sha256(engine.model),
        operating_points=[_thresholds(name, lines) for name, lines in POINTS.items()],
        remotes=[
            RemoteEngineShape(
                name=remote.name,
                health=await remote.health(),
                breaker=remote.breaker.state,
                probe_in_seconds=remote.breaker.seconds_left(),
                timeout_ms=remote.setting.timeout_ms,
            )
            for remote in desk.remotes.by_name.values()
        ],
    )


def _degraded(judged: Judged) -> dict[str, str] | None:
    """Repeat for proxies what the body says: the engine that was chosen did not answer."""
    return {DEGRADED: "detection"} if judged.degraded else None


def _thresholds(name: Any, lines: tuple[int, int]) -> DetectionThresholds:
    return DetectionThresholds(review=lines[0] / 1_000, block=lines[1] / 1_000, operating_point=name)
