"""Shapes of verdict heads on the wire."""

from typing import Annotated, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination
from guardhouse.scores.heads.store import StoredHead

State = Literal["shadow", "on", "off"]


class HeadShape(BaseModel):
    """One version of a verdict head, without its weights."""

    version: int
    alphabet: str
    state: Annotated[State, Field(description="shadow: told as suppressed, counts nothing; on: counts.")]
    auc: Annotated[float, Field(ge=0, le=1, description="How well runs it had not seen were told apart.")]
    confirmed: Annotated[int, Field(description="Confirmed runs that it was trained on.")]
    harmless: int
    created_at: str
    on_at: str | None
    off_at: str | None


class HeadList(BaseModel):
    """One page of verdict heads."""

    data: list[HeadShape]
    pagination: Pagination


class HeadChange(BaseModel):
    """What `PATCH /risk/heads/{version}` takes."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["on", "off"]


def head_shape(head: StoredHead) -> HeadShape:
    """Return the public form of a head."""
    return HeadShape(
        version=head.version,
        alphabet=head.alphabet,
        state=msgspec.convert(head.state, State),
        auc=round(head.auc, 4),
        confirmed=head.confirmed,
        harmless=head.harmless,
        created_at=rfc3339(head.created_at),
        on_at=rfc3339(head.on_at) if head.on_at else None,
        off_at=rfc3339(head.off_at) if head.off_at else None,
    )
