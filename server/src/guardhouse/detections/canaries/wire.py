"""Shapes of canaries on the wire."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.detections.canaries.store import Canary
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.marked_members import ShownOnce
from guardhouse.foundation.pages import Pagination


class CanaryRequest(BaseModel):
    """What `POST /canaries` takes."""

    model_config = ConfigDict(extra="forbid")

    label: Annotated[str, Field(min_length=1, max_length=200, examples=["system prompt of the shop"])]
    expires_in: Annotated[
        int | None, Field(ge=60, le=315_360_000, description="Seconds; null: it does not expire.")
    ] = None


class CanaryShape(BaseModel):
    """A canary, without its token."""

    id: UUID
    label: str
    created_at: str
    created_by: str
    expires_at: str | None


class NewCanaryShape(CanaryShape):
    """A new canary; its token is in this answer and nowhere else."""

    token: ShownOnce


class CanaryList(BaseModel):
    """One page of canaries."""

    data: list[CanaryShape]
    pagination: Pagination


def canary_shape(canary: Canary) -> CanaryShape:
    """Return the public form of a canary."""
    return CanaryShape(
        id=canary.id,
        label=canary.label,
        created_at=rfc3339(canary.created_at),
        created_by=canary.created_by,
        expires_at=None if canary.expires_at is None else rfc3339(canary.expires_at),
    )


def new_canary_shape(canary: Canary, token: str) -> NewCanaryShape:
    """Return the answer that shows a token once."""
    return NewCanaryShape(**canary_shape(canary).model_dump(), token=token)
