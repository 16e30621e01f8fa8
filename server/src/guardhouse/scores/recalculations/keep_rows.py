"""Score rows of a replay: what processes come to with the newest rules and baselines, marked `recalculated`."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from guardhouse.analysis.risk.effects import ScoreRow
from guardhouse.analysis.risk.engine import ENGINE_VERSION
from guardhouse.analysis.risk.evidence import shares
from guardhouse.analysis.risk.process import Process
from guardhouse.analysis.risk.scoring import ROW_EVIDENCE
from guardhouse.analysis.risk.summary import summarise
from guardhouse.events import partitions
from guardhouse.events.identify import identifier
from guardhouse.foundation.clock import from_microseconds
from guardhouse.foundation.database import Tx
from guardhouse.scores import store
from guardhouse.scores.heads.take import taken_text
from guardhouse.scores.process_key import key_text
from guardhouse.scores.recalculations.replay import Replay
from guardhouse.scores.write import score_values

RECALCULATED: Final = "recalculated"


async def keep_rows(tx: Tx, replay: Replay, processes: Sequence[Process]) -> int:
    """Write a row for each process as of its last event; the same replay again writes none. Returns how many.

    A row whose day is not kept any more is left out.
    """
    past = replay.past
    versions: dict[str, Any] = {"engine": ENGINE_VERSION, "rules": replay.engine.rules.version}
    answers = replay.engine.judge.answers.version
    if answers:
        versions["answers"] = answers
    heads = taken_text(replay.engine.heads)
    if heads:
        versions["heads"] = heads
    new_id = identifier(str(past.tenant.id), past.agent_id)
    days = set(await partitions.present_days(tx, "scores"))
    rows = []
    for process in processes:
        row = _row(replay, process)
        at = from_microseconds(row.occurred_us)
        if at.date() not in days:
            continue
        version = None if process.profile is None else process.profile.version
        told = msgspec.json.encode({**versions, "profile": version}).decode()
        source = f"{RECALCULATED}:{row.position}:{key_text(row.key)}:{told}"
        score_id = UUID(bytes=new_id(row.occurred_us // 1000, source))
        rows.append(score_values((past.tenant.no, past.agent_no, past.agent_id), row, score_id, told))
    if rows:
        await store.add_scores(tx, rows)
    return len(rows)


def _row(replay: Replay, process: Process) -> ScoreRow:
    summary = summarise(replay.engine.instances, process)
    _, parts = shares(process.slots or (), process.last_us)
    return ScoreRow(
        process.key,
        process.root,
        process.last_position,
        process.last_us,
        summary.risk,
        summary.tree_risk,
        summary.risk_score,
        summary.anomaly_score,
        summary.band,
        (RECALCULATED,),
        [[part.slot.id, part.nats, part.points] for part in parts[:ROW_EVIDENCE]],
    )
