"""How an agent is doing: seen lately or silent, and what of its streams is missing."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

from guardhouse.agents import store
from guardhouse.agents.store import AgentFilter, HostAgent, Stream
from guardhouse.foundation.database import TenantKey, Tx

SILENT_AFTER: Final = timedelta(minutes=20)
Status = Literal["new", "active", "silent"]


def status_of(agent: HostAgent, now: datetime) -> Status:
    """Return `new` (never seen), `active`, or `silent` (no contact for 20 minutes)."""
    if agent.last_seen is None:
        return "new"
    return "active" if now - agent.last_seen < SILENT_AFTER else "silent"


def filter_of(status: Status | None, query: str | None, now: datetime) -> AgentFilter:
    """Return the filter for a status and a part of the id, name or hostname."""
    edge = now - SILENT_AFTER
    return AgentFilter(
        query=query,
        never_seen=status == "new",
        seen_before=edge if status == "silent" else None,
        seen_after=edge if status == "active" else None,
    )


async def list_hosts(
    tx: Tx, tenant: TenantKey, wanted: AgentFilter, limit: int, after: int | None
) -> list[HostAgent]:
    """Return agents of a tenant in order of enrolment."""
    return await store.list_agents(tx, tenant.id, wanted, limit, after)


async def streams_of(tx: Tx, agents: Sequence[HostAgent]) -> dict[int, list[Stream]]:
    """Return the streams of some agents, by agent number."""
    return await store.list_streams(tx, [agent.no for agent in agents])
