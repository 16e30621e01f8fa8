"""Routes of members: list, show, change, remove. They are made by signing in, never by hand."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from guardhouse.foundation.clock import from_microseconds, microseconds
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.etag import PreconditionFailed, check_match, etag
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router
from guardhouse.identity import members
from guardhouse.identity.caller import Caller, Require
from guardhouse.identity.keys import ScopeEscalation
from guardhouse.identity.members import LastAdmin, MemberChange
from guardhouse.identity.membership.wire import MemberList, MemberPatch, MemberShape, member_shape
from guardhouse.identity.roles import ROLES

router = api_router("members")
Reader = Annotated[Caller, Depends(Require("members:read"))]
Writer = Annotated[Caller, Depends(Require("members:write"))]


@router.get("/members", operation_id="list_members", response_model=MemberList)
async def list_members(caller: Reader, tx: RequestTx, page: AskedPage) -> dict[str, Any]:
    """List the tenant's people, newest first."""
    after = None if page.after is None else (from_microseconds(page.after[0]), UUID(bytes=page.after[1]))
    rows = await members.list_members(tx, caller.tenant.id, page.limit + 1, after)
    return page.answer(rows, lambda member: (microseconds(member.created_at), member.id.bytes), member_shape)


@router.get("/members/{member_id}", operation_id="get_member", responses=refusals(NotFound))
async def get_member(caller: Reader, tx: RequestTx, response: Response, member_id: UUID) -> MemberShape:
    """Show one person."""
    member = await members.get_member(tx, caller.tenant.id, member_id)
    response.headers["ETag"] = etag(member.version)
    return member_shape(member)


@router.patch(
    "/members/{member_id}",
    operation_id="update_member",
    responses=refusals(NotFound, LastAdmin, PreconditionFailed, ScopeEscalation),
)
async def update_member(  # noqa: PLR0913, PLR0917 - what FastAPI puts in
    caller: Writer,
    tx: RequestTx,
    shared: Shared,
    request: Request,
    response: Response,
    member_id: UUID,
    change: MemberPatch,
) -> MemberShape:
    """Change a person's role, or suspend them; either signs them out everywhere. Honours If-Match."""
    held = await members.hold_member(tx, caller.tenant.id, member_id)
    check_match(request.headers, held.version)
    if change.role is not None and not caller.scopes.issuperset(ROLES[change.role]):
        raise ScopeEscalation("The role has scopes that you do not have.")
    wanted = MemberChange(change.role, change.state)
    changed = await members.change_member(tx, caller.actor, held, wanted, shared.clock.now())
    response.headers["ETag"] = etag(changed.version)
    return member_shape(changed)


@router.delete(
    "/members/{member_id}",
    status_code=204,
    operation_id="delete_member",
    responses=refusals(NotFound, LastAdmin, PreconditionFailed),
)
async def delete_member(
    caller: Writer, tx: RequestTx, shared: Shared, request: Request, member_id: UUID
) -> Response:
    """Take a person out and sign them out everywhere. Who the issuer still lets in comes back at the next sign-in."""
    held = await members.hold_member(tx, caller.tenant.id, member_id)
    check_match(request.headers, held.version)
    await members.remove_member(tx, caller.actor, held, shared.clock.now())
    return Response(status_code=204)
