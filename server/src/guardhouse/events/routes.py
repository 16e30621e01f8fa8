"""Routes of stored events: list and show."""

from typing import Annotated, Any

from fastapi import Depends, Query

from guardhouse.events import find
from guardhouse.events.store import StoredEvent
from guardhouse.events.wire import AnyEvent, EventList, EventQuery, any_shape, event_shape
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, api_router
from guardhouse.identity.caller import Caller, Require

router = api_router("events")
Reader = Annotated[Caller, Depends(Require("events:read"))]


@router.get("/events", operation_id="list_events", response_model=EventList)
async def list_events(
    caller: Reader, tx: RequestTx, page: AskedPage, wanted: Annotated[EventQuery, Query()]
) -> dict[str, Any]:
    """List events of hosts and apps, newest first; those of one process in the order in which they are applied."""
    if wanted.process_id is None:
        before = None if page.after is None else page.after[0]
        rows = await find.newest(tx, caller.tenant, wanted, page.limit + 1, before)
        return page.answer(rows, lambda event: (event.event_id,), any_shape)
    own = await find.of_process(tx, caller.tenant, wanted, page.limit + 1, page.after)
    return page.answer(own, _position, event_shape)


@router.get("/events/{event_id}", operation_id="get_event", responses=refusals(NotFound))
async def get_event(caller: Reader, tx: RequestTx, event_id: str) -> AnyEvent:
    """Show one event; the id is 32 hex digits, dashes are allowed."""
    return any_shape(await find.one(tx, caller.tenant, event_id))


def _position(event: StoredEvent) -> tuple[int, int]:
    return event.agent_no, event.position
