"""Shapes of protected texts on the wire."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.detections.protected_texts.store import ProtectedText
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination


class ProtectedTextRequest(BaseModel):
    """What `POST /protected-texts` takes."""

    model_config = ConfigDict(extra="forbid")

    label: Annotated[str, Field(min_length=1, max_length=200, examples=["system prompt of the shop"])]
    text: Annotated[
        str,
        Field(
            min_length=1,
            max_length=100_000,
            description="It is hashed and forgotten.",
            examples=[
                "You are the assistant of a small bookshop and never speak of prices before you are asked."
            ],
        ),
    ]


class ProtectedTextShape(BaseModel):
    """A protected text, of which only keyed hashes are kept."""

    id: UUID
    label: str
    shingles: Annotated[int, Field(description="Different runs of eight words.")]
    created_at: str
    created_by: str


class ProtectedTextList(BaseModel):
    """One page of protected texts."""

    data: list[ProtectedTextShape]
    pagination: Pagination


def protected_text_shape(text: ProtectedText) -> ProtectedTextShape:
    """Return the public form of a protected text."""
    return ProtectedTextShape(
        id=text.id,
        label=text.label,
        shingles=text.shingles,
        created_at=rfc3339(text.created_at),
        created_by=text.created_by,
    )
