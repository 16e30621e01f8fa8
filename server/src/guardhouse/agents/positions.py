"""Positions: a gapless number per agent, taken under the agent's row lock, so commit order equals position order."""

from dataclasses import dataclass
from datetime import datetime

from guardhouse.agents import enroll_host, store
from guardhouse.agents.enroll_host import NewHost
from guardhouse.agents.store import Stream
from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.resources import Resources


@dataclass(frozen=True, slots=True)
class LockedAgent:
    """An agent whose row this transaction holds; ``next_position`` is the first free one."""

    no: int
    next_position: int


async def lock_agent(
    tx: Tx, resources: Resources, tenant: TenantKey, agent_id: str, *, create_as: Actor | None
) -> LockedAgent | None:
    """Lock an agent until commit; an unknown one is made in the name of ``create_as``. None: there is none."""
    found = await store.lock_agent(tx, tenant, agent_id)
    if found is None and create_as is not None:
        made = await enroll_host.add_host(tx, resources, tenant, NewHost(agent_id))
        if made is not None:
            await record(
                tx, create_as, Entry("agent.enroll", f"agent:{agent_id}", after={"by_reporting": True})
            )
        found = await store.lock_agent(tx, tenant, agent_id)
    return None if found is None else LockedAgent(*found)


async def advance(tx: Tx, agent: LockedAgent, taken: int, seen: datetime, skew_ms: int | None) -> None:
    """Take a block of positions for good and note the contact."""
    await store.advance(tx, agent.no, agent.next_position + taken, seen, skew_ms)


async def get_high_seq(tx: Tx, agent: LockedAgent, stream: str) -> int | None:
    """Return the highest ``seq`` received of a stream before this batch."""
    return await store.get_high_seq(tx, agent.no, stream)


async def note_stream(tx: Tx, tenant: TenantKey, agent: LockedAgent, seen: Stream) -> None:
    """Widen what is known of a stream by one batch."""
    await store.note_stream(tx, tenant.no, agent.no, seen)
