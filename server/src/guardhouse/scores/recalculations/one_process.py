"""One process computed anew at once; what takes longer than an answer may is left to a job."""

from dataclasses import dataclass
from typing import Any, Final

from guardhouse.analysis.risk.explain import explain
from guardhouse.analysis.risk.summary import Summary, summarise
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.scores import queries
from guardhouse.scores.process_key import key_of
from guardhouse.scores.queries import ProcessRow
from guardhouse.scores.recalculations.keep_rows import keep_rows
from guardhouse.scores.recalculations.replay import Past, Replay
from guardhouse.scores.recalculations.store import Mode

MAX_EVENTS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Recalculation:
    """The outcome. ``equal``: the packed state is the stored one to the byte."""

    process_id: str
    mode: Mode
    equal: bool
    events: int
    summary: Summary
    explanation: dict[str, Any]


async def recalculate(
    tx: Tx, tenant: TenantKey, row: ProcessRow, mode: Mode, *, dry_run: bool
) -> Recalculation | None:
    """Replay the agent's events up to where scoring stands and compare the process's state.

    Returns None when there are more than 100,000 of them. In `current`, unless `dry_run`, the outcome is kept as a
    score row.

    Raises:
        EventsExpired: the agent's history is not complete any more.
    """
    until, stored = await queries.get_scored(tx, row.agent_no, row.key)
    if until > MAX_EVENTS:
        return None
    replay = await Replay.begin(tx, Past(tenant, row.agent_no, row.agent_id, row.group), mode)
    while await replay.go_on(tx, until):
        pass
    engine = replay.engine
    process = engine.instances.states[key_of(row.key)]
    if mode == "current" and not dry_run:
        await keep_rows(tx, replay, [process])
    return Recalculation(
        process_id=row.process_id,
        mode=mode,
        equal=stored == engine.pack(process.key),
        events=replay.position,
        summary=summarise(engine.instances, process),
        explanation=explain(engine, process, row.agent_id),
    )
