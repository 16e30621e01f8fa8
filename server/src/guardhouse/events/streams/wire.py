"""Shapes of minutes and payloads on the wire."""

from typing import Annotated

from pydantic import BaseModel, Field

from guardhouse.events.streams.store import Values
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination
from guardhouse.foundation.window import Window


class StreamShape(BaseModel):
    """The values of one minute for a project, or for one of its routes."""

    minute: str
    route: Annotated[
        str, Field(description="Empty for the project; `other` for all but the 50 busiest routes.")
    ]
    correction: Annotated[
        int, Field(description="0 as sealed; n as corrected the nth time by what came in later.")
    ]
    made_at: str
    values: Annotated[
        dict[str, float | None],
        Field(
            description="By stream: `events.<class>`, `distinct_ips`, `request_count`, `error_ratio`, `blocked_ratio`,"
            " `response_time.p50`, `response_time.p95` in seconds."
        ),
    ]


class StreamList(BaseModel):
    """One page of minutes."""

    data: list[StreamShape]
    pagination: Pagination


class StreamQuery(Window):
    """Filters of `GET /projects/{project_id}/streams`; the last hour unless told otherwise."""

    route: Annotated[str | None, Field(max_length=200, description="Empty: the project as a whole.")] = None


class PayloadShape(BaseModel):
    """What an attack sent, as far as the app tells."""

    event_id: str
    timestamp: str
    event_type: str
    text: str


class PayloadList(BaseModel):
    """One page of payloads."""

    data: list[PayloadShape]
    pagination: Pagination


class PayloadQuery(Window):
    """Filters of `GET /projects/{project_id}/payloads`; the last hour unless told otherwise."""


def stream_shape(values: Values) -> StreamShape:
    """Return the public form of a minute's values."""
    return StreamShape(
        minute=rfc3339(values.minute),
        route=values.route,
        correction=values.correction,
        made_at=rfc3339(values.made_at),
        values=values.values,
    )
