"""Shapes of previews and calibrations on the wire."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from guardhouse.detections.calibrations.store import Calibration
from guardhouse.detections.policies.store import StoredPolicy
from guardhouse.detections.tuning.preview import Preview


class DecisionCounts(BaseModel):
    """How many texts were decided each way."""

    allow: int = 0
    review: int = 0
    block: int = 0


class PreviewShape(BaseModel):
    """What became of the texts of the last 24 hours, and what would have; a shadow is looked through."""

    model_config = ConfigDict(title="PolicyPreview")

    since: datetime
    until: datetime
    texts: int
    before: DecisionCounts
    after: DecisionCounts
    summary: Annotated[str, Field(examples=["would have blocked 7 instead of 31"])]


class CalibrationRequest(BaseModel):
    """Which of the tenant's own texts to calibrate by, and the share of them that may reach the block line."""

    model_config = ConfigDict(extra="forbid", title="CalibrationRequest", populate_by_name=True)

    since: Annotated[AwareDatetime, Field(alias="from", examples=["2026-01-01T00:00:00Z"])]
    until: Annotated[AwareDatetime, Field(alias="to", examples=["2026-01-31T00:00:00Z"])]
    target_fpr: Annotated[float, Field(ge=0, le=0.5)] = 0.01

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since >= self.until:
            raise ValueError("`from` is not before `to`")
        return self


class ChannelShiftShape(BaseModel):
    """What a calibration does to a channel: harmless texts at the block line before and after."""

    shift: Annotated[float, Field(ge=-3, le=3, description="Added to the log-odds of the score.")]
    texts: int
    before: int
    after: int


class CalibrationShape(BaseModel):
    """A calibration, and the version of the policy that it is in force by. Undone by clearing `calibration` there."""

    model_config = ConfigDict(title="Calibration", populate_by_name=True)

    id: UUID
    policy: UUID
    policy_version: int
    since: Annotated[datetime, Field(alias="from")]
    until: Annotated[datetime, Field(alias="to")]
    target_fpr: float
    channels: Annotated[
        dict[str, ChannelShiftShape], Field(description="A channel with fewer than 500 texts is left out.")
    ]
    made_at: datetime
    made_by: str


def preview_shape(found: Preview) -> PreviewShape:
    """Return the public form of a preview."""
    before, after = DecisionCounts(**found.before), DecisionCounts(**found.after)
    return PreviewShape(
        since=found.since,
        until=found.until,
        texts=found.texts,
        before=before,
        after=after,
        summary=f"would have blocked {after.block} instead of {before.block}",
    )


def calibration_shape(made: Calibration, policy: StoredPolicy) -> CalibrationShape:
    """Return the public form of a calibration."""
    channels = {
        name: ChannelShiftShape(
            shift=one.shift_milli / 1_000, texts=one.texts, before=one.before, after=one.after
        )
        for name, one in made.channels.items()
    }
    return CalibrationShape(
        id=made.id,
        policy=made.policy_id,
        policy_version=policy.policy.version,
        since=made.since,
        until=made.until,
        target_fpr=made.target_fpr,
        channels=channels,
        made_at=made.made_at,
        made_by=made.made_by,
    )
