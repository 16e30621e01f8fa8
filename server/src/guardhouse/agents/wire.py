"""Shapes of host agents on the wire."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from guardhouse.agents.enroll_host import IssuedKey
from guardhouse.agents.host_status import Status, status_of
from guardhouse.agents.store import HostAgent, Stream
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.marked_members import ShownOnce
from guardhouse.foundation.pages import Pagination

MAX_METADATA_BYTES = 16 << 10


def _small(value: dict[str, Any] | None) -> dict[str, Any] | None:
    if value is not None and len(json.dumps(value, ensure_ascii=False).encode()) > MAX_METADATA_BYTES:
        raise ValueError("metadata is larger than 16 KiB")
    return value


AgentName = Annotated[
    str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", examples=["web-1"])
]
Text = Annotated[str, Field(min_length=1, max_length=255)]
Metadata = Annotated[dict[str, Any], AfterValidator(_small)]
Modes = Annotated[list[Literal["rfc9421", "legacy"]], Field(min_length=1, max_length=2)]


class AgentRequest(BaseModel):
    """What `POST /agents` takes."""

    model_config = ConfigDict(extra="forbid")

    id: AgentName
    name: Text | None = None
    hostname: Text | None = None
    metadata: Metadata = {}
    signature_modes: Modes | None = None


class AgentChange(BaseModel):
    """What `PATCH /agents/{id}` takes; absent members stay."""

    model_config = ConfigDict(extra="forbid")

    name: Text | None = None
    hostname: Text | None = None
    metadata: Metadata | None = None
    signature_modes: Modes | None = None


class AgentQuery(BaseModel):
    """Filters of `GET /agents`."""

    kind: Annotated[Literal["host"], Field(description="Only host agents in this version.")] = "host"
    status: Status | None = None
    q: Annotated[str, Field(max_length=255, description="Part of id, name or hostname.")] | None = None


class RotateRequest(BaseModel):
    """How long the keys before the new one stay good."""

    model_config = ConfigDict(extra="forbid")

    grace_seconds: Annotated[int, Field(ge=0, le=604_800)] = 3600


class StreamShape(BaseModel):
    """One spool of an agent and what of it has arrived."""

    stream: str
    boot_id: str | None
    alphabet: str | None
    low_seq: int
    high_seq: int
    received: int
    missing: int
    seq_reused: bool


class AgentShape(BaseModel):
    """A host agent."""

    id: str
    kind: Literal["host"] = "host"
    name: str
    hostname: str | None
    metadata: dict[str, Any]
    signature_modes: list[str]
    status: Status
    last_seen: str | None
    clock_skewed: bool
    clock_skew_ms: int | None
    events: Annotated[int, Field(description="Events stored of this agent.")]
    missing: Annotated[int, Field(description="Events that the agent numbered and that have not arrived.")]
    streams: list[StreamShape]
    created_at: str


class AgentKeyShape(BaseModel):
    """A fresh agent key; the secret is in this answer and nowhere else."""

    key_id: str
    secret: ShownOnce


class EnrolledShape(AgentShape, AgentKeyShape):
    """A new agent with its first key."""


class AgentList(BaseModel):
    """One page of agents."""

    data: list[AgentShape]
    pagination: Pagination


def agent_shape(agent: HostAgent, streams: Sequence[Stream], now: datetime) -> AgentShape:
    """Return the public form of an agent."""
    return AgentShape(
        id=agent.id,
        name=agent.name,
        hostname=agent.hostname,
        metadata=agent.metadata,
        signature_modes=list(agent.signature_modes),
        status=status_of(agent, now),
        last_seen=rfc3339(agent.last_seen) if agent.last_seen else None,
        clock_skewed=agent.clock_skew_ms is not None,
        clock_skew_ms=agent.clock_skew_ms,
        events=agent.next_position - 1,
        missing=sum(stream.missing for stream in streams),
        streams=[
            StreamShape(
                stream=s.stream,
                boot_id=s.boot_id,
                alphabet=s.alphabet,
                low_seq=s.low_seq,
                high_seq=s.high_seq,
                received=s.received,
                missing=s.missing,
                seq_reused=s.seq_reused,
            )
            for s in streams
        ],
        created_at=rfc3339(agent.created_at),
    )


def enrolled_shape(agent: HostAgent, issued: IssuedKey, now: datetime) -> EnrolledShape:
    """Return the answer to an enrolment."""
    return EnrolledShape(
        **agent_shape(agent, [], now).model_dump(), key_id=issued.key_id, secret=issued.secret
    )
