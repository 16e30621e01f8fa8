"""Routes of detections: judge a text, look at the engine."""

from typing import Annotated, Any, Final

import msgspec
from fastapi import Depends, Request, Response

from guardhouse.detections.ask_engine import EngineBusy
from guardhouse.detections.decide import POINTS
from guardhouse.detections.desk import Desk
from guardhouse.detections.detect import detect
from guardhouse.detections.judge import Judged
from guardhouse.detections.model_file import model_sha256
from guardhouse.detections.policy import DEFAULT
from guardhouse.detections.read_request import (
    MemberInvalid,
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
from guardhouse.detections.wire import (
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

router = api_router("detections")
Reader = Annotated[Caller, Depends(Require("detect:read"))]
Asker = Annotated[Caller, Depends(Require("detect:write"))]

_BODY: Final = raw_body({JSON_TYPE: (DetectionRequest,)}, "The text and how to judge it.")


def desk_of(request: Request) -> Desk:
    """Return the desk of the application that serves this request."""
    found: Desk = request.app.state.detection_desk
    return found


AtDesk = Annotated[Desk, Depends(desk_of)]


@router.post(
    "/detect",
    operation_id="detect_text",
    openapi_extra=_BODY,
    responses={
        200: {"model": DetectionShape, "description": "The verdict."},
        **refusals(
            ObjectExpected,
            TextRequired,
            TextType,
            TextEmpty,
            TextTooLong,
            UnknownChoice,
            UnknownConfig,
            ThresholdRange,
            MemberInvalid,
            MetadataTooLarge,
            EngineBusy,
            NotRecorded,
        ),
    },
)
@two_step
async def detect_text(caller: Asker, desk: AtDesk, request: Request) -> Response:
    """Judge a text: is it an attempt to turn a model against its user or its owner?

    Offline, by the engine that ships with the platform. Hidden and encoded parts are read and judged too. The verdict
    is recorded, the text only where the policy says so.
    """
    found = await detect(desk, DEFAULT, read_wanted(await request.body()))
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
