"""Runs on their way to be learned: those the engine ended, and what is known of those that go on."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from guardhouse.analysis.risk.effects import RunEnd
from guardhouse.analysis.risk.engine import AgentEngine
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.analysis.risk.scoring import run_so_far
from guardhouse.foundation.clock import from_microseconds
from guardhouse.foundation.database import Tx
from guardhouse.scores.baselines import store
from guardhouse.scores.process_key import key_text

AT_ONCE: Final = 500


async def note_runs(
    tx: Tx, tenant_no: int, agent_no: int, ends: Sequence[RunEnd], *, going_on: bool = False
) -> None:
    """Keep runs of one agent until they are learned."""
    if ends:
        await store.add_runs(tx, [_values(tenant_no, agent_no, end, going_on=going_on) for end in ends])


async def note_open_runs(
    tx: Tx, tenant_no: int, group: str, silent_since: datetime, after: tuple[int, str]
) -> tuple[int, str] | None:
    """Keep what is known of runs that go on in processes last seen before an instant, 500 processes at a time.

    Returns the place of the last one, to go on from; None when there are no more.
    """
    rows = await store.list_open(tx, tenant_no, group, silent_since, after, AT_ONCE)
    engines: dict[int, AgentEngine] = {}
    for row in rows:
        engine = engines.get(row.agent_no)
        if engine is None:
            engine = engines[row.agent_no] = AgentEngine(RuleSet.builtin())
            engine.load_agent(row.agent_state)
        key = engine.load_process(row.state)
        process = engine.instances.states[key]
        end = run_so_far(process, process.last_position, engine.heard())
        if end is not None:
            await note_runs(tx, tenant_no, row.agent_no, [end], going_on=True)
    return (rows[-1].agent_no, rows[-1].key) if len(rows) == AT_ONCE else None


def _values(tenant_no: int, agent_no: int, end: RunEnd, *, going_on: bool) -> tuple[Any, ...]:
    return (
        tenant_no,
        agent_no,
        key_text(end.key),
        end.after,
        end.last,
        key_text(end.root),
        end.exe,
        end.alphabet,
        from_microseconds(end.started_us),
        from_microseconds(end.ended_us),
        msgspec.json.encode(end.hits).decode(),
        end.edge,
        end.calm,
        end.received,
        end.lost,
        going_on,
        end.after,
        None,
    )
