"""Shapes of stored events on the wire; the older members keep their names and meanings."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from guardhouse.analysis.risk.event import ProcessKey, process_id
from guardhouse.events.app.queries import StoredAppEvent
from guardhouse.events.read import fields_of
from guardhouse.events.store import CLAMPED, LATE, UNTIMED, StoredEvent
from guardhouse.events.write_process import KIND_NAMES
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination
from guardhouse.foundation.window import Window

Kind = Literal["call", "exec", "fork", "exit", "calls", "finding", "loss", "inventory"]


class EventShape(BaseModel):
    """One event of a host."""

    id: Annotated[str, Field(description="32 hex digits, a UUIDv7 without dashes.")]
    family: Literal["host"] = "host"
    agent_id: str
    process_id: str | None
    pid: int | None
    tid: int | None
    kind: Kind
    syscall: str | None
    timestamp: Annotated[str, Field(description="When it happened, UTC.")]
    claimed_at: Annotated[str | None, Field(description="What the agent said, where it was clamped.")]
    received_at: str
    position: Annotated[int, Field(description="Place in the agent's order; scoring follows it.")]
    late: bool
    untimed: bool
    ret: int | None
    errno: str | None
    exe: str | None
    comm: str | None
    ppid: int | None
    start: int | None
    args: dict[str, Any]
    names: list[str] | None
    child_pid: int | None
    code: int | None
    rule: str | None
    priority: str | None
    count: int | None
    boot_id: str | None
    alphabet: str
    metadata: dict[str, Any]


class AppEventShape(BaseModel):
    """One event of an in-app agent."""

    id: Annotated[str, Field(description="32 hex digits, a UUIDv7 without dashes.")]
    family: Literal["app"] = "app"
    project: str
    installation: str | None
    event_type: str
    event_class: Annotated[str, Field(description="attack, policy, config, noise or other.")]
    timestamp: Annotated[str, Field(description="When it happened, UTC.")]
    claimed_at: str | None
    received_at: str
    ip_address: str | None
    country: str | None
    user_agent: str | None
    action_taken: str | None
    reason: str | None
    endpoint: str | None
    method: str | None
    status_code: int | None
    response_time: float | None
    decorator_type: str | None
    rule_type: str | None
    pattern_matched: str | None
    handler_name: str | None
    metadata: dict[str, Any]
    extra: dict[str, Any]


AnyEvent = Annotated[EventShape | AppEventShape, Field(discriminator="family")]


class EventList(BaseModel):
    """One page of events."""

    data: list[AnyEvent]
    pagination: Pagination


class EventQuery(Window):
    """Filters of `GET /events`."""

    family: Annotated[
        Literal["host", "app"] | None, Field(description="Both, unless a filter belongs to one of them.")
    ] = None
    project: Annotated[str, Field(max_length=128, description="Slug; app events only.")] | None = None
    event_type: Annotated[list[str], Field(max_length=100, description="App events only.")] = Field(
        default_factory=list
    )
    agent_id: Annotated[str, Field(max_length=128)] | None = None
    process_id: (
        Annotated[str, Field(max_length=200, description="Lists by position instead of newest first.")] | None
    ) = None
    pid: Annotated[int, Field(ge=0, le=4_194_304)] | None = None
    syscall: Annotated[list[str], Field(max_length=100)] = Field(default_factory=list)
    kind: Annotated[list[Kind], Field(max_length=8)] = Field(default_factory=list)
    late: bool | None = None


def any_shape(event: StoredEvent | StoredAppEvent) -> EventShape | AppEventShape:
    """Return the public form of an event of either family."""
    return event_shape(event) if isinstance(event, StoredEvent) else app_event_shape(event)


def app_event_shape(event: StoredAppEvent) -> AppEventShape:
    """Return the public form of an event of an in-app agent."""
    return AppEventShape(
        id=event.event_id.hex(),
        project=event.project,
        installation=event.installation,
        event_type=event.event_type,
        event_class=event.event_class,
        timestamp=_precise(event.occurred_at),
        claimed_at=None if event.claimed_at is None else _precise(event.claimed_at),
        received_at=rfc3339(event.received_at),
        ip_address=event.ip,
        country=event.country,
        user_agent=event.user_agent,
        action_taken=event.action_taken,
        reason=event.reason,
        endpoint=event.endpoint,
        method=event.method,
        status_code=event.status_code,
        response_time=event.response_time,
        decorator_type=event.decorator_type,
        rule_type=event.rule_type,
        pattern_matched=event.pattern_matched,
        handler_name=event.handler_name,
        metadata=event.metadata or {},
        extra=event.extra or {},
    )


def event_shape(event: StoredEvent) -> EventShape:
    """Return the public form of a stored event."""
    f = fields_of(event)
    owner = None
    if event.pid is not None:
        start = -1 if event.start is None else event.start
        owner = process_id(event.agent_id, ProcessKey(event.boot_id, event.pid, start, 0))
    return EventShape(
        id=event.event_id.hex(),
        agent_id=event.agent_id,
        process_id=owner,
        pid=event.pid,
        tid=event.tid,
        kind=_kind(event.kind),
        syscall=event.call,
        timestamp=_precise(event.occurred_at),
        claimed_at=None if event.claimed_at is None else _precise(event.claimed_at),
        received_at=rfc3339(event.received_at),
        position=event.position,
        late=bool(event.flags & LATE),
        untimed=bool(event.flags & (UNTIMED | CLAMPED)),
        ret=event.ret,
        errno=f.errno,
        exe=f.exe,
        comm=f.comm,
        ppid=f.ppid,
        start=event.start,
        args=f.args or {},
        names=f.names,
        child_pid=f.child_pid,
        code=f.code,
        rule=f.rule,
        priority=f.priority,
        count=f.count,
        boot_id=event.boot_id or None,
        alphabet=event.alphabet,
        metadata=f.metadata or {},
    )


def _precise(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _kind(code: int) -> Kind:
    name: Kind = KIND_NAMES[code]  # type: ignore[assignment] # the table holds just these names
    return name
