"""Routes of host agents: enrol, list, change, rotate, remove."""

from typing import Annotated, Any

from fastapi import Depends, Query, Response

from guardhouse.agents import enroll_host, host_status
from guardhouse.agents.enroll_host import NewHost
from guardhouse.agents.wire import (
    AgentChange,
    AgentKeyShape,
    AgentList,
    AgentQuery,
    AgentRequest,
    AgentShape,
    EnrolledShape,
    RotateRequest,
    agent_shape,
    enrolled_shape,
)
from guardhouse.audit.record import Entry, record
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import AskedPage, RequestTx, Shared, api_router
from guardhouse.identity.caller import Caller, Require

router = api_router("agents")
Reader = Annotated[Caller, Depends(Require("agents:read"))]
Writer = Annotated[Caller, Depends(Require("agents:write"))]


@router.post("/agents", status_code=201, operation_id="create_agent", responses=refusals(Conflict))
async def create_agent(caller: Writer, tx: RequestTx, shared: Shared, wanted: AgentRequest) -> EnrolledShape:
    """Enrol a host; the answer holds its first key, once."""
    new = NewHost(
        wanted.id,
        wanted.name,
        wanted.hostname,
        wanted.metadata,
        None if wanted.signature_modes is None else tuple(wanted.signature_modes),
    )
    agent, issued = await enroll_host.enroll_host(tx, shared, caller.tenant, new)
    after = {"name": agent.name, "signature_modes": agent.signature_modes, "key_id": issued.key_id}
    await record(tx, caller.actor, Entry("agent.enroll", f"agent:{agent.id}", after=after))
    return enrolled_shape(agent, issued, shared.clock.now())


@router.get("/agents", operation_id="list_agents", response_model=AgentList)
async def list_agents(
    caller: Reader, tx: RequestTx, shared: Shared, page: AskedPage, wanted: Annotated[AgentQuery, Query()]
) -> dict[str, Any]:
    """List host agents in order of enrolment, with what of their streams is missing."""
    now = shared.clock.now()
    shown = host_status.filter_of(wanted.status, wanted.q, now)
    after = None if page.after is None else page.after[0]
    rows = await host_status.list_hosts(tx, caller.tenant, shown, page.limit + 1, after)
    streams = await host_status.streams_of(tx, rows)
    return page.answer(
        rows, lambda agent: (agent.no,), lambda agent: agent_shape(agent, streams[agent.no], now)
    )


@router.get("/agents/{agent_id}", operation_id="get_agent", responses=refusals(NotFound))
async def get_agent(caller: Reader, tx: RequestTx, shared: Shared, agent_id: str) -> AgentShape:
    """Show one agent."""
    agent = await enroll_host.get_host(tx, caller.tenant, agent_id)
    streams = await host_status.streams_of(tx, [agent])
    return agent_shape(agent, streams[agent.no], shared.clock.now())


@router.patch("/agents/{agent_id}", operation_id="update_agent", responses=refusals(NotFound))
async def update_agent(
    caller: Writer, tx: RequestTx, shared: Shared, agent_id: str, change: AgentChange
) -> AgentShape:
    """Change an agent's name, hostname, metadata or signature modes."""
    agent = await enroll_host.get_host(tx, caller.tenant, agent_id)
    changes = {
        name: value for name, value in change.model_dump(exclude_unset=True).items() if value is not None
    }
    changed = await enroll_host.change_host(tx, agent, changes)
    streams = await host_status.streams_of(tx, [changed])
    if changes:
        before = {name: getattr(agent, name) for name in changes}
        await record(tx, caller.actor, Entry("agent.update", f"agent:{agent.id}", before, changes))
    return agent_shape(changed, streams[changed.no], shared.clock.now())


@router.delete(
    "/agents/{agent_id}", status_code=204, operation_id="delete_agent", responses=refusals(NotFound)
)
async def delete_agent(caller: Writer, tx: RequestTx, shared: Shared, agent_id: str) -> Response:
    """Remove an agent: its keys end now, its events and scores stay."""
    agent = await enroll_host.get_host(tx, caller.tenant, agent_id)
    await enroll_host.delete_host(tx, shared, agent)
    await record(tx, caller.actor, Entry("agent.remove", f"agent:{agent.id}", before={"name": agent.name}))
    return Response(status_code=204)


@router.post(
    "/agents/{agent_id}/rotate-key",
    status_code=201,
    operation_id="rotate_agent_key",
    responses=refusals(NotFound),
)
async def rotate_agent_key(
    caller: Writer, tx: RequestTx, shared: Shared, agent_id: str, wanted: RotateRequest | None = None
) -> AgentKeyShape:
    """Make the agent's next key; the ones before it stay good for the grace."""
    agent = await enroll_host.get_host(tx, caller.tenant, agent_id)
    grace = (wanted or RotateRequest()).grace_seconds
    issued = await enroll_host.rotate_key(tx, shared, agent, grace)
    after = {"key_id": issued.key_id, "grace_seconds": grace}
    await record(tx, caller.actor, Entry("agent.rotate_key", f"agent:{agent.id}", after=after))
    return AgentKeyShape(key_id=issued.key_id, secret=issued.secret)
