"""The processes of a range of an agent's time computed anew, however many events that takes.

Events are read in short transactions; only the last one, which compares and writes, holds scoring of this agent
for a moment, so that what is compared is of one position.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from guardhouse.agents import enroll_host
from guardhouse.analysis.risk.event import process_id
from guardhouse.analysis.risk.process import Process
from guardhouse.analysis.risk.summary import summarise
from guardhouse.foundation.clock import Clock, microseconds
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound
from guardhouse.foundation.ids import new_id
from guardhouse.identity.caller import Caller
from guardhouse.scores import queries, store
from guardhouse.scores.process_key import key_text
from guardhouse.scores.queries import ProcessRow
from guardhouse.scores.recalculations import store as asked_store
from guardhouse.scores.recalculations.keep_rows import keep_rows
from guardhouse.scores.recalculations.replay import Past, Replay
from guardhouse.scores.recalculations.store import AskedJob, Mode

MAX_NAMED: Final = 100  # processes that a result names
COMPARED_AT_ONCE: Final = 1000


class How(NamedTuple):
    """By which rules and baselines, and whether the outcome is kept."""

    mode: Mode
    dry_run: bool


async def ask_for_range(
    tx: Tx, caller: Caller, clock: Clock, agent_id: str, span: tuple[datetime, datetime], how: How
) -> AskedJob:
    """Write down that the processes of an agent with events in a range are to be computed anew.

    Raises:
        NotFound: there is no such agent.
    """
    agent = await enroll_host.get_host(tx, caller.tenant, agent_id)
    group = str(agent.metadata.get("group") or agent.id)
    made = AskedJob(
        new_id(), caller.tenant.no, agent.no, agent.id, group, None, *span, how.mode, how.dry_run, "waiting", 0,
        None, clock.now(), None,
    )  # fmt: skip
    await asked_store.add(tx, made, caller.credential_id)
    return made


async def ask_for_process(tx: Tx, caller: Caller, clock: Clock, row: ProcessRow, how: How) -> AskedJob:
    """Write down that one process of an agent with a long history is to be computed anew."""
    made = AskedJob(
        new_id(), caller.tenant.no, row.agent_no, row.agent_id, row.group, row.key, None, None, how.mode,
        how.dry_run, "waiting", 0, None, clock.now(), None,
    )  # fmt: skip
    await asked_store.add(tx, made, caller.credential_id)
    return made


async def get(tx: Tx, caller: Caller, recalculation_id: UUID) -> AskedJob:
    """Return a recalculation that was asked for.

    Raises:
        NotFound: the tenant has none such.
    """
    found = await asked_store.get(tx, caller.tenant.no, recalculation_id)
    if found is None:
        raise NotFound("There is no such recalculation.")
    return found


async def begin(tx: Tx, past: Past, mode: Mode) -> Replay:
    """Return the replay of a recalculation before its first event."""
    return await Replay.begin(tx, past, mode)


async def step(tx: Tx, replay: Replay, asked: AskedJob) -> dict[str, Any] | None:
    """Apply the next events; once all that is scored has been applied, the result.

    Raises:
        EventsExpired: the agent's history is not complete any more.
    """
    cursor = await store.get_cursor(tx, asked.agent_no)
    until = 0 if cursor is None else cursor.position
    await replay.go_on(tx, until)
    if replay.position < until:
        return None
    if await store.hold_cursor(tx, asked.agent_no) not in (None, replay.position):
        return None  # scoring has gone on meanwhile: so does the replay
    return await _settle(tx, replay, asked)


async def _settle(tx: Tx, replay: Replay, asked: AskedJob) -> dict[str, Any]:
    found = [p for p in replay.engine.instances.states.values() if _is_meant(p, asked)]
    result: dict[str, Any] = {"processes": len(found), "equal": 0, "different": [], "rows": 0}
    for start in range(0, len(found), COMPARED_AT_ONCE):
        await _compare(tx, replay, found[start : start + COMPARED_AT_ONCE], result)
    if asked.mode == "current" and not asked.dry_run:
        result["rows"] = await keep_rows(tx, replay, found)
    return result


def _is_meant(process: Process, asked: AskedJob) -> bool:
    """Whether a process is the one asked for, or lived within the range."""
    if asked.key is not None or asked.since is None or asked.until is None:
        return key_text(process.key) == asked.key
    return process.last_us >= microseconds(asked.since) and process.started_us < microseconds(asked.until)


async def _compare(tx: Tx, replay: Replay, processes: Sequence[Process], result: dict[str, Any]) -> None:
    """Count processes whose state is the stored one to the byte; name those that come to something else."""
    engine, past = replay.engine, replay.past
    stored = await queries.list_states(tx, past.agent_no, [key_text(p.key) for p in processes])
    for process in processes:
        held = stored.get(key_text(process.key))
        if held is not None and held.state == engine.pack(process.key):
            result["equal"] += 1
        elif len(result["different"]) < MAX_NAMED:
            now = summarise(engine.instances, process)
            result["different"].append(
                {
                    "process_id": process_id(past.agent_id, process.key),
                    "risk": now.risk / 100,
                    "band": now.band,
                    "stored_risk": None if held is None else held.risk / 100,
                    "stored_band": None if held is None else held.band,
                }
            )
