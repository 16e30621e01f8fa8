"""Tell of host agents that have fallen silent."""

from typing import Final

from guardhouse.agents.host_status import SILENT_AFTER
from guardhouse.agents.silence.store import take_silent
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.transaction import system_transaction
from guardhouse.notices.agent_kinds import AgentSilent
from guardhouse.notices.publish import Draft, publish_all

TOLD_AT_ONCE: Final = 500


@every(60, "agents.tell_silent")
async def tell_silent(context: JobContext) -> None:
    """Publish which agents have not been heard for 20 minutes, each once per silence, in short steps."""
    resources = context.resources
    told = TOLD_AT_ONCE
    while told == TOLD_AT_ONCE:
        now = resources.clock.now()
        async with system_transaction(resources.database) as tx:
            silent = await take_silent(tx, now - SILENT_AFTER, now, TOLD_AT_ONCE)
            await publish_all(
                tx,
                [
                    Draft(
                        AgentSilent(agent_id=host.agent_id, last_seen=rfc3339(host.last_seen)),
                        host.tenant_id,
                        host.position,
                    )
                    for host in silent
                ],
            )
        told = len(silent)
