"""Routes of policies: make, list, show, change; their versions; which key is judged by which."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response

from guardhouse.detections.policies import change_policy as changing
from guardhouse.detections.policies import store
from guardhouse.detections.policies.bind_key import bind_key
from guardhouse.detections.policies.change_policy import reach_policy
from guardhouse.detections.policies.check_policy import PolicyRefused, check_policy
from guardhouse.detections.policies.in_force import PolicyNotFound
from guardhouse.detections.policies.wire import (
    KeyPolicyRequest,
    KeyPolicyShape,
    PolicyChange,
    PolicyList,
    PolicyRequest,
    PolicyShape,
    changed,
    policy_of,
    policy_shape,
)
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.etag import PreconditionFailed, PreconditionRequired, check_match, etag
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router, resources_of
from guardhouse.identity import reach
from guardhouse.identity.caller import Caller, Require

router = api_router("policies")
Reader = Annotated[Caller, Depends(Require("policies:read", "policies:write"))]
Writer = Annotated[Caller, Depends(Require("policies:write"))]


@router.post(
    "/policies",
    status_code=201,
    operation_id="create_policy",
    responses=refusals(Conflict, PolicyRefused),
)
async def create_policy(
    caller: Writer, tx: RequestTx, shared: Shared, wanted: PolicyRequest, response: Response
) -> PolicyShape:
    """Make a policy; it is in force for calls that name it, and for keys that are bound to it."""
    policy = policy_of(wanted, new_id())
    check_policy(policy, await changing.known_to(tx, caller, policy, shared.settings))
    made = await changing.create_policy(tx, caller, policy, shared.clock.now())
    response.headers["ETag"] = etag(policy.version)
    response.headers["Location"] = f"/api/v1/policies/{policy.id}"
    return policy_shape(made)


@router.get("/policies", operation_id="list_policies", response_model=PolicyList)
async def list_policies(caller: Reader, tx: RequestTx, shared: Shared, page: AskedPage) -> dict[str, Any]:
    """List the policies in order of making. `default` judges every call that neither names a policy nor has a key's."""
    after = None if page.after is None else UUID(bytes=page.after[0])
    rows = await changing.list_policies(tx, caller, page.limit + 1, after, shared.clock.now())
    return page.answer(rows, lambda row: (row.policy.id.bytes,), policy_shape)


@router.get("/policies/{policy_id}", operation_id="get_policy", responses=refusals(NotFound))
async def get_policy(caller: Reader, tx: RequestTx, policy_id: UUID, response: Response) -> PolicyShape:
    """Show a policy as it is in force."""
    found = await reach_policy(tx, caller, policy_id)
    response.headers["ETag"] = etag(found.policy.version)
    return policy_shape(found)


@router.patch(
    "/policies/{policy_id}",
    operation_id="update_policy",
    responses=refusals(NotFound, Conflict, PolicyRefused, PreconditionFailed, PreconditionRequired),
)
async def update_policy(
    caller: Writer,
    tx: RequestTx,
    policy_id: UUID,
    change: PolicyChange,
    request: Request,
    response: Response,
) -> PolicyShape:
    """Put the next version of a policy in force, everywhere within a second; If-Match names the version it changes."""
    known = await reach_policy(tx, caller, policy_id, lock=True)
    check_match(request.headers, known.policy.version, required=True)
    wanted = changed(known.policy, change)
    shared = resources_of(request)
    check_policy(wanted, await changing.known_to(tx, caller, wanted, shared.settings))
    made = await changing.change_policy(tx, caller, known, wanted, shared.clock.now())
    response.headers["ETag"] = etag(made.policy.version)
    return policy_shape(made)


@router.get(
    "/policies/{policy_id}/versions",
    operation_id="list_policy_versions",
    response_model=PolicyList,
    responses=refusals(NotFound),
)
async def list_policy_versions(
    caller: Reader, tx: RequestTx, page: AskedPage, policy_id: UUID
) -> dict[str, Any]:
    """List the versions of a policy, the newest first; a detection says by which it was judged."""
    await reach_policy(tx, caller, policy_id)
    before = None if page.after is None else int(page.after[0])
    rows = await store.list_versions(tx, caller.tenant.id, policy_id, page.limit + 1, before)
    return page.answer(rows, lambda row: (row.policy.version,), policy_shape)


@router.put(
    "/keys/{key_id}/policy",
    operation_id="set_key_policy",
    responses=refusals(NotFound, Conflict, PolicyNotFound),
)
async def set_key_policy(
    caller: Writer, tx: RequestTx, shared: Shared, key_id: UUID, wanted: KeyPolicyRequest
) -> KeyPolicyShape:
    """Bind a key to a policy: what is judged with it is judged by that policy, unless the call names another.

    A test key is bound to a policy of the test twin. A key that is rotated hands its policy on.
    """
    async with reach.key(tx, caller, key_id, "policies:write", lock=True) as key:
        bound = await bind_key(tx, caller, key, wanted.policy, shared.clock.now())
    return KeyPolicyShape(key_id=bound.id, policy=bound.policy_id)
