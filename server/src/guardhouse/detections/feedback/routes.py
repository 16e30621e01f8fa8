"""The route of feedback on detections."""

import hmac
from typing import Annotated
from uuid import UUID

from fastapi import Depends

from guardhouse.detections.feedback import store
from guardhouse.detections.feedback.store import Feedback
from guardhouse.detections.feedback.wire import FeedbackRequest, FeedbackShape, feedback_shape
from guardhouse.detections.record import text_hmac
from guardhouse.detections.records import read
from guardhouse.detections.records.read import DetectionGone
from guardhouse.foundation.errors import NotFound, Problem
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import RequestTx, Shared, api_router
from guardhouse.identity.caller import Caller, Require

router = api_router("detections")
Judge = Annotated[Caller, Depends(Require("detect:write"))]


class OtherText(Problem):
    """The text handed over is not the one that was judged."""

    status, code, title = 422, "other_text", "Not the text that was judged"
    remediation = "Send the text exactly as it was judged, or leave `submit_text` out."


@router.post(
    "/detect/{detection_id}/feedback",
    status_code=201,
    operation_id="create_detection_feedback",
    responses=refusals(NotFound, DetectionGone, OtherText),
)
async def create_detection_feedback(
    caller: Judge, tx: RequestTx, shared: Shared, detection_id: UUID, wanted: FeedbackRequest
) -> FeedbackShape:
    """Say what a text really was. The latest word of each caller counts; calibrations learn from `benign`."""
    now = shared.clock.now()
    found = await read.find_record(tx, caller.tenant.id, detection_id, now)
    if found is None:
        raise await read.absent(tx, caller.tenant.id, detection_id, now)
    text = wanted.submit_text
    if text is not None and not hmac.compare_digest(text_hmac(shared, caller, text), found.text_hmac):
        detail = "The text is not the one that was judged."
        raise OtherText(
            detail, errors=[{"pointer": "/submit_text", "code": OtherText.code, "detail": detail}]
        )
    given = Feedback(detection_id, caller.actor.name, wanted.label, wanted.comment, text, now)
    await store.put_feedback(tx, caller.tenant.id, given)
    return feedback_shape(given)
