"""Show what time alone has done to an agent's scores: bands that fell, incidents that are over.

Each fall is dated by arithmetic, so it does not matter when a sweep runs, or whether the agent's next event does its
work. The stored states are not touched: they follow from events alone, and an event that was on its way meanwhile is
judged as if there had been no sweep.
"""

from datetime import datetime

from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.event import process_id
from guardhouse.analysis.risk.summary import summarise
from guardhouse.foundation.clock import microseconds
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.notices.publish import publish_all
from guardhouse.scores import write
from guardhouse.scores.baselines.history import ProfileHistory, take_in
from guardhouse.scores.cooling.store import load_hot, lock_cursor, note_sweep, show_cooled
from guardhouse.scores.incidents import tell
from guardhouse.scores.incidents.book import Tale
from guardhouse.scores.process_key import key_text
from guardhouse.scores.rules.rule_sets import RuleSets, rules_taken
from guardhouse.scores.store import Backlog


async def sweep(tx: Tx, sets: RuleSets, work: Backlog, now: datetime) -> None:
    """Let an agent's bands fall up to ``now``, an instant of its event time.

    Nothing happens when events have been scored since it was found due.

    Raises:
        DayMissing: a day of a score row has no partition.
    """
    await tell.take_turn(tx, TenantKey(work.tenant_id, work.tenant_no), work.agent_no)
    cursor = await lock_cursor(tx, work.agent_no)
    if cursor is None or cursor.position != work.position or cursor.cools_at is None:
        return
    profiles = ProfileHistory(work.tenant_no, work.group, current=cursor.profile_version)
    engine = AgentEngine(await sets.get(tx, work.tenant_no, rules_taken(cursor)), profiles)
    engine.load_agent(cursor.state)
    for packed in await load_hot(tx, work.agent_no):
        await take_in(tx, engine, profiles, packed)
    shown = [key for key, process in engine.instances.states.items() if process.hot]
    effects = engine.sweep(microseconds(now))
    if effects is not None:
        await write.save_rows(tx, engine, work, effects.rows)
        summaries = {key: summarise(engine.instances, engine.instances.states[key]) for key in shown}
        await show_cooled(
            tx,
            work.agent_no,
            [
                (key_text(key), s.band, *((s.tree_band, s.tree_risk) if key == s.root else ("low", 0)))
                for key, s in sorted(summaries.items())
            ],
        )
        tales = [
            Tale(c, process_id(work.agent_id, c.root), process_id(work.agent_id, c.process))
            for c in effects.crossings
        ]
        await publish_all(tx, await tell.settle(tx, work, tales))
    await note_sweep(tx, work.agent_no, now, write.cools_at(engine))
