"""Routes of the live stream: what happens, as it happens, to whoever may read it."""

from fnmatch import fnmatchcase
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Query, Request

from guardhouse.foundation.errors import NotFound, ValidationFailed
from guardhouse.foundation.pages import InvalidCursor
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import RequestTx, Shared, api_router, resources_of, system_transaction
from guardhouse.identity.caller import Caller, Require, remember
from guardhouse.identity.refusals import AmbiguousCredentials, ScopeMissing
from guardhouse.live import tickets
from guardhouse.live.client import Interest
from guardhouse.live.hub import Hub, StreamsFull
from guardhouse.live.store import Visitor
from guardhouse.live.stream import EventStream
from guardhouse.live.tickets import TICKET_SECONDS, TicketInvalid
from guardhouse.live.wire import STREAM_CONTENT, StreamEvent, StreamTicket
from guardhouse.notices import read
from guardhouse.notices.kind import Severity
from guardhouse.notices.kinds import KINDS, READ_SCOPES

router = api_router("live")


class Listening(Require):
    """Identifies a listener by its credential, or by a ticket; it needs at least one read scope."""

    async def __call__(
        self,
        request: Request,
        ticket: Annotated[
            str | None,
            Query(description="From `POST /stream/tickets`, instead of a header.", max_length=100),
        ] = None,
    ) -> Caller:
        """Return the caller.

        Raises:
            Problem: unknown credential or ticket, both at once, or no scope that reads any kind.
        """
        caller = await super().__call__(request) if ticket is None else await _spend(request, ticket)
        if READ_SCOPES.isdisjoint(caller.scopes):
            raise ScopeMissing(
                "A stream needs a scope that reads something.",
                required_scope=" or ".join(sorted(READ_SCOPES)),
            )
        return caller


async def _spend(request: Request, ticket: str) -> Caller:
    if request.headers.get("x-api-key") or request.headers.get("authorization"):
        raise AmbiguousCredentials("The request has a ticket and a key.")
    resources = resources_of(request)
    async with system_transaction(resources) as tx:
        visitor = await tickets.redeem(tx, ticket, resources.clock.now())
    caller = Caller(
        tenant=visitor.tenant,
        tenant_slug="",
        kind="ticket",
        role="",
        scopes=visitor.scopes,
        credential_id=visitor.credential_id,
        project_id=visitor.project_id,
    )
    remember(request, caller)
    return caller


Listener = Annotated[Caller, Depends(Listening(None))]


async def hub_of(request: Request) -> Hub:
    """Return the hub of this process."""
    hub: Hub = request.app.state.hub
    return hub


async def wanted(
    caller: Listener,
    kinds: Annotated[
        list[str] | None,
        Query(
            description="Kinds, repeated or comma-separated; `risk.*` takes a whole area. Absent: all you may read."
        ),
    ] = None,
    subject: Annotated[
        str | None, Query(max_length=300, description="One subject, as in `subject` of a notice.")
    ] = None,
    project_id: Annotated[UUID | None, Query(description="Notices of one project.")] = None,
    min_severity: Annotated[Severity, Query(description="This severity and above.")] = Severity.INFO,
) -> Interest:
    """Read the filters of a stream.

    Raises:
        ValidationFailed: a kind that does not exist.
        ScopeMissing: a kind that the caller may not read.
        NotFound: a project other than the key's own.
    """
    if caller.project_id is not None and project_id not in {None, caller.project_id}:
        raise NotFound("There is no such project.")
    return Interest(
        kinds=readable_kinds(kinds or ["*"], caller.scopes),
        subject=subject,
        project_id=caller.project_id or project_id,
        min_severity=min_severity,
    )


def readable_kinds(asked: list[str], scopes: frozenset[str]) -> frozenset[str]:
    """Return the kinds that patterns name and scopes open; a pattern must open at least one kind."""
    found: set[str] = set()
    for pattern in (part.strip() for text in asked for part in text.split(",")):
        named = [kind for kind in KINDS if fnmatchcase(kind, pattern)]
        if not named:
            detail = f"{pattern[:100]!r} is none of {', '.join(sorted(KINDS))}"
            raise ValidationFailed(
                "There is no such kind of notice.",
                errors=[{"parameter": "kinds", "code": "unknown", "detail": detail}],
            )
        readable = {kind for kind in named if KINDS[kind].scope in scopes}
        if not readable:
            scope = KINDS[named[0]].scope
            raise ScopeMissing(f"{pattern} needs the scope {scope}.", required_scope=scope)
        found |= readable
    return frozenset(found)


@router.get(
    "/stream",
    status_code=200,
    operation_id="stream_notices",
    response_class=EventStream,
    response_model=StreamEvent,
    responses={
        200: {"description": "The stream.", "content": STREAM_CONTENT},
        **refusals(StreamsFull, TicketInvalid, InvalidCursor, ScopeMissing),
    },
)
async def stream_notices(
    caller: Listener,
    interest: Annotated[Interest, Depends(wanted)],
    shared: Shared,
    hub: Annotated[Hub, Depends(hub_of)],
    last_event_id: Annotated[
        str | None, Query(description="As the header, for clients that cannot set it.", max_length=100)
    ] = None,
    last_event_id_header: Annotated[
        str | None, Header(alias="Last-Event-ID", description="Resume exactly after this id.", max_length=100)
    ] = None,
) -> EventStream:
    """Stream notices as server-sent events: `event:` is the kind, `id:` the place to resume from.

    The stream resumes exactly after `Last-Event-ID`, without loss or repeat, for seven days. A client that
    reads too slowly gets `gap` and is closed; one that was away too long gets `reset` and what is kept.
    """
    visitor = Visitor(caller.tenant, caller.scopes, caller.project_id, caller.credential)
    await hub.admit()
    client = hub.new_client(visitor, interest)
    last = last_event_id_header or last_event_id
    if not last:
        return EventStream(hub, client)
    position = read.parse_position(last)
    async with system_transaction(shared) as tx:
        mark, reset = await read.resume_at(tx, position, shared.clock.now())
    return EventStream(hub, client, mark, reset=reset)


@router.post("/stream/tickets", status_code=201, operation_id="create_stream_ticket")
async def create_stream_ticket(
    caller: Annotated[Caller, Depends(Require(None))], tx: RequestTx, shared: Shared
) -> StreamTicket:
    """Make a ticket that opens one stream within a minute, for clients that cannot send headers."""
    if READ_SCOPES.isdisjoint(caller.scopes):
        raise ScopeMissing(
            "A stream needs a scope that reads something.", required_scope=" or ".join(sorted(READ_SCOPES))
        )
    visitor = Visitor(caller.tenant, caller.scopes, caller.project_id, caller.credential)
    ticket, expires_at = await tickets.issue(tx, visitor, shared.clock.now())
    return StreamTicket(ticket=ticket, expires_at=expires_at, expires_in_seconds=TICKET_SECONDS)
