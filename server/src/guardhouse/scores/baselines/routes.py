"""Routes of baselines: list, look, learn now."""

from datetime import timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Query

from guardhouse.agents import enroll_host
from guardhouse.audit.record import Entry, record
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import (
    AskedPage,
    RequestTx,
    Shared,
    api_router,
    tenant_transaction,
    two_step,
)
from guardhouse.identity.caller import Caller, Require
from guardhouse.scores.answers.load import load_answers, newest_version
from guardhouse.scores.baselines import jobs, queries
from guardhouse.scores.baselines.fold import Wanted
from guardhouse.scores.baselines.store import group_of
from guardhouse.scores.baselines.wire import (
    LearnedShape,
    LearnRequest,
    ProfileDetail,
    ProfileList,
    ProfileQuery,
    learned_shape,
    profile_detail,
    profile_shape,
)

router = api_router("scores")
Reader = Annotated[Caller, Depends(Require("scores:read"))]
RiskWriter = Annotated[Caller, Depends(Require("risk:write"))]
AHEAD: Final = timedelta(days=1)  # further than any event may lie in the future


@router.post(
    "/risk/profiles:learn",
    status_code=201,
    operation_id="learn_profiles",
    responses=refusals(NotFound, Conflict),
)
@two_step
async def learn_profiles(caller: RiskWriter, shared: Shared, wanted: LearnRequest) -> LearnedShape:
    """Take what a group of agents has done so far as usual, without the wait of a day and whatever its risk was.

    What was confirmed as an attack, and runs that lost events, stay out. A long past is learned in parts: the
    first one now, the rest goes on behind the answer.
    """
    until = wanted.until or shared.clock.now() + AHEAD
    async with tenant_transaction(shared, caller.tenant) as tx:
        if wanted.agent_id is not None:
            await enroll_host.get_host(tx, caller.tenant, wanted.agent_id)
        group = await group_of(tx, caller.tenant.no, wanted.agent_id, wanted.group)
    if group is None:
        raise NotFound("There is no such group of agents.")
    learning = Wanted(caller.tenant, group, until, vouched=True)
    await jobs.look_at_open_runs(shared, caller.tenant, group, until)
    learned = await jobs.fold_step(shared, learning, caller.actor.name)
    if learned is None:
        raise Conflict("There is nothing to learn from: no program of this group has been seen since.")
    async with tenant_transaction(shared, caller.tenant) as tx:
        complete = not await jobs.go_on(tx, learning, caller.actor.name)
        after = {"version": learned.version, "programs": learned.programs, "runs": learned.runs}
        await record(tx, caller.actor, Entry("risk.learn", f"profiles:{group}", after=after))
    return learned_shape(learned, complete=complete)


@router.get("/risk/profiles", operation_id="list_risk_profiles", response_model=ProfileList)
async def list_risk_profiles(
    caller: Reader, tx: RequestTx, page: AskedPage, wanted: Annotated[ProfileQuery, Query()]
) -> dict[str, Any]:
    """List the newest baseline of each program, by group."""
    asked = (wanted.group, wanted.exe)
    rows = await queries.list_programs(tx, caller.tenant.no, asked, page.limit + 1, page.after)
    return page.answer(rows, lambda program: (program.group, program.profile_id.bytes), profile_shape)


@router.get("/risk/profiles/{profile_id}", operation_id="get_risk_profile", responses=refusals(NotFound))
async def get_risk_profile(caller: Reader, tx: RequestTx, profile_id: UUID) -> ProfileDetail:
    """Show a baseline: what is usual there, what people answered, and which runs wait or are left out."""
    tenant_no = caller.tenant.no
    found = await queries.get_program(tx, tenant_no, profile_id)
    if found is None:
        raise NotFound("There is no such profile.")
    answers = await load_answers(tx, tenant_no, found.group, await newest_version(tx, tenant_no, found.group))
    waiting = await queries.count_waiting(tx, tenant_no, found.group, found.exe, found.alphabet)
    return profile_detail(found, answers, waiting)
