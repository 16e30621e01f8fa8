"""Routes of rule packs: take, list, show versions, take out."""

from typing import Annotated, Any

from fastapi import Depends, Path, Response

from guardhouse.detections.packs import change_pack as changing
from guardhouse.detections.packs import store
from guardhouse.detections.packs.check_pack import (
    PackTooLarge,
    PackTooSlow,
    RuleExampleFailed,
    RuleKindUnknown,
    RuleMalformed,
    RuleTooBroad,
)
from guardhouse.detections.packs.wire import (
    PackDetail,
    PackPage,
    PackRequest,
    PackVersions,
    pack_detail,
    pack_shape,
)
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router
from guardhouse.identity.caller import Caller, Require

router = api_router("policies")
Reader = Annotated[Caller, Depends(Require("policies:read", "policies:write"))]
Writer = Annotated[Caller, Depends(Require("policies:write"))]
PackName = Annotated[str, Path(max_length=63, examples=["acme"])]


@router.post(
    "/rule-packs",
    status_code=201,
    operation_id="create_rule_pack",
    responses=refusals(
        Conflict,
        RuleKindUnknown,
        PackTooLarge,
        RuleMalformed,
        RuleExampleFailed,
        RuleTooBroad,
        PackTooSlow,
    ),
)
async def create_rule_pack(
    caller: Writer, tx: RequestTx, shared: Shared, wanted: PackRequest, response: Response
) -> PackDetail:
    """Take a rule pack: compiled, tried on its own examples, on harmless texts and on texts made to be slow.

    One bad rule refuses the pack. It counts for policies that name it with its version.
    """
    made = await changing.add_pack(tx, caller, wanted.name, wanted.rules, shared.clock.now())
    response.headers["Location"] = f"/api/v1/rule-packs/{made.name}"
    return pack_detail(made)


@router.get("/rule-packs", operation_id="list_rule_packs", response_model=PackPage)
async def list_rule_packs(caller: Reader, tx: RequestTx, page: AskedPage) -> dict[str, Any]:
    """List the tenant's rule packs by name, each in its newest version."""
    after = None if page.after is None else str(page.after[0])
    rows = await store.list_packs(tx, caller.tenant.id, page.limit + 1, after)
    return page.answer(rows, lambda row: (row.name,), pack_shape)


@router.get(
    "/rule-packs/{name}",
    operation_id="get_rule_pack",
    response_model=PackVersions,
    responses=refusals(NotFound),
)
async def get_rule_pack(caller: Reader, tx: RequestTx, page: AskedPage, name: PackName) -> dict[str, Any]:
    """Show the versions of a rule pack with their rules, the newest first."""
    before = None if page.after is None else int(page.after[0])
    rows = await store.list_versions(tx, caller.tenant.id, name, page.limit + 1, before)
    if not rows and before is None:
        raise NotFound("There is no such rule pack.")
    return page.answer(rows, lambda row: (row.version,), pack_detail)


@router.delete(
    "/rule-packs/{name}",
    status_code=204,
    operation_id="delete_rule_pack",
    responses=refusals(NotFound, Conflict),
)
async def delete_rule_pack(caller: Writer, tx: RequestTx, name: PackName) -> Response:
    """Take a rule pack out, all its versions, when no policy names it."""
    await changing.delete_pack(tx, caller, name)
    return Response(status_code=204)
