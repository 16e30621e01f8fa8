"""Shapes of scans of answers on the wire. Bodies are read by ``read_output``; these say what they hold."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.detections.wire import DetectionContext, OutputAction, OutputFinding

Decision = Annotated[
    OutputAction,
    Field(
        description="`allow`: show it. `redact`: show the redacted text in its place. `review`: let someone look."
        " `block`: do not show it."
    ),
]
Prompt = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=100_000,
        description="The system prompt: repeating it is a finding, and no link may carry parts of it out.",
    ),
]
Protected = Annotated[
    list[UUID], Field(max_length=8, description="Ids of protected texts that must not be repeated.")
]


class OutputConfig(BaseModel):
    """How to scan."""

    model_config = ConfigDict(extra="forbid", title="OutputConfig")

    redact: Annotated[bool, Field(description="Return the text with names in place of the findings.")] = True
    timeout_seconds: Annotated[float, Field(ge=1, le=60)] = 30


class _Scan(BaseModel):
    system_prompt: Prompt = None
    protected_texts: Protected = []
    config: OutputConfig | None = None
    policy: Annotated[UUID | None, Field(description="By which policy; null: the key's, else `default`.")] = (
        None
    )
    context: DetectionContext | None = None
    metadata: Annotated[
        dict[str, Any] | None, Field(description="At most 1 KiB of JSON; returned unchanged.")
    ] = None


class OutputRequest(_Scan):
    """A model's answer. Every JSON string is a text, with whatever characters; only the empty one is refused."""

    model_config = ConfigDict(title="OutputRequest")

    text: Annotated[
        str, Field(min_length=1, max_length=100_000, examples=["Write to ann@shop.example for an offer."])
    ]


class OutputPieceRequest(_Scan):
    """The next piece of a model's answer. Prompt, protected texts and policy are the same with every piece."""

    model_config = ConfigDict(title="OutputPieceRequest")

    chunk: Annotated[
        str, Field(max_length=100_000, description="May be empty.", examples=["Write to ann@sh"])
    ]
    carry: Annotated[
        str | None, Field(max_length=4_096, description="What the answer to the piece before gave.")
    ] = None
    final: Annotated[bool, Field(description="Nothing follows.")] = False
    sequence: Annotated[
        int | None,
        Field(ge=0, description="The number of the piece, from 0; another one than expected is refused."),
    ] = None


class OutputShape(BaseModel):
    """What was found in an answer and what is to be done."""

    model_config = ConfigDict(title="ScannedOutput")

    id: UUID
    decision: Decision
    would_decide: Decision
    findings: list[OutputFinding]
    redacted_text: str | None
    degraded: bool
    fallback_reason: Annotated[
        str | None,
        Field(description="Why nothing is known of the text; the policy's fail mode has decided then."),
    ]
    flags: list[str]
    warnings: list[str]
    policy: UUID
    policy_version: int
    processing_time_ms: int
    processing_time_us: int
    context: DetectionContext
    metadata: dict[str, Any]
    created_at: datetime


class OutputPieceShape(BaseModel):
    """What was found with this piece and how much of the text may be shown."""

    model_config = ConfigDict(title="ScannedPiece")

    sequence: Annotated[int, Field(description="The number of this piece.")]
    decision: Annotated[Decision, Field(description="Never falls while a stream lasts.")]
    would_decide: Decision
    findings: list[OutputFinding]
    release: Annotated[
        int, Field(description="Code points from the start of what was held back that may be shown now.")
    ]
    hold_back: Annotated[
        int, Field(description="Code points that are held back: something could still begin there.")
    ]
    released_text: Annotated[
        str | None, Field(description="What may be shown now, with names in place of the findings.")
    ]
    carry: Annotated[
        str | None, Field(description="To be sent with the next piece within ten minutes; null at the end.")
    ]
    flags: list[str]
    warnings: list[str]
    policy: UUID
    policy_version: int
    context: DetectionContext
    metadata: dict[str, Any]
