"""Shapes of feedback on the wire."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.detections.feedback.store import Feedback

Label = Literal["attack", "benign", "unsure"]


class FeedbackRequest(BaseModel):
    """What somebody says of a detection; said again, the latest counts."""

    model_config = ConfigDict(extra="forbid", title="FeedbackRequest")

    label: Label
    comment: Annotated[str | None, Field(max_length=2_000)] = None
    submit_text: Annotated[
        str | None,
        Field(
            max_length=100_000,
            description="The text itself, to be kept with the label: it must be the very one that was judged.",
            examples=[None],
        ),
    ] = None


class FeedbackShape(BaseModel):
    """One caller's latest word on a detection."""

    model_config = ConfigDict(title="Feedback")

    detection_id: UUID
    label: Label
    comment: str | None
    text_kept: bool
    given_by: str
    given_at: datetime


def feedback_shape(given: Feedback) -> FeedbackShape:
    """Return the public form of a word on a detection."""
    return FeedbackShape.model_validate(
        {
            "detection_id": given.detection_id,
            "label": given.label,
            "comment": given.comment,
            "text_kept": given.text is not None,
            "given_by": given.given_by,
            "given_at": given.given_at,
        }
    )
