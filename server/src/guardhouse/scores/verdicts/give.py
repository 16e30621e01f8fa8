"""A person says what a process was: confirmed, a false alarm, or expected. The latest word of a person stands.

A verdict names its evidence as (program, alphabet, evidence, detail); scoring takes it from the next event of
each agent of the group on, at a position that is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from guardhouse.analysis.risk.evidence import Slot
from guardhouse.analysis.risk.process import Process
from guardhouse.audit.record import Actor, Entry, record
from guardhouse.events.keep import keep_events
from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import Conflict, NotFound, ValidationFailed
from guardhouse.foundation.ids import new_id
from guardhouse.scores import find
from guardhouse.scores.answers import store
from guardhouse.scores.answers.store import Line, Verdict
from guardhouse.scores.process_key import key_of
from guardhouse.scores.queries import ProcessRow

Word = Literal["confirmed", "false_alarm", "expected"]


@dataclass(frozen=True, slots=True)
class Saying:
    """What was said of a process; no ``evidence`` means all that it has."""

    verdict: Word
    evidence: Sequence[str]
    note: str | None


async def give(
    tx: Tx, tenant: TenantKey, process_id: str, said: Saying, by: tuple[Actor, Clock]
) -> tuple[ProcessRow, Verdict]:
    """Keep a verdict in the place of the person's earlier one on this process.

    Raises:
        NotFound: there is no such process.
        Conflict: it has no evidence that could be expected or a false alarm.
        ValidationFailed: it does not have the evidence that is named.
    """
    actor, clock = by
    row = await find.get_process(tx, tenant, process_id)
    engine = await find.engine_with(tx, tenant, row)
    states = engine.instances.states
    process = states[key_of(row.key)]
    lines = _lines(process, said)
    # The group's row first: whoever changes its answers at the same time waits here.
    version = await store.next_version(tx, tenant.no, row.group)
    now = clock.now()
    before = await store.find_standing(tx, tenant.no, row.agent_no, row.key, actor.name)
    if before is not None:
        await store.end(tx, tenant.no, before.verdict_id, version, (actor.name, now))
    made = Verdict(
        verdict_id=new_id(),
        agent_no=row.agent_no,
        key=row.key,
        group=row.group,
        verdict=said.verdict,
        evidence=lines,
        note=said.note,
        person=actor.name,
        given_at=now,
    )
    await store.add(tx, tenant.no, made, version)
    if said.verdict == "confirmed":
        await keep_events(tx, tenant.no, {event.hex() for slot in _held(process) for event in slot.events})
    told = None if before is None else {"verdict": before.verdict, "evidence": before.evidence}
    after = {"verdict": made.verdict, "evidence": lines, "note": made.note}
    await record(tx, actor, Entry("verdict.give", f"process:{row.process_id}", before=told, after=after))
    return row, made


async def withdraw(
    tx: Tx, tenant: TenantKey, process_id: str, verdict_id: UUID, by: tuple[Actor, Clock]
) -> None:
    """End a verdict; what it took away counts again from the next event on. One that has ended stays so.

    Raises:
        NotFound: there is no such verdict on this process.
    """
    actor, clock = by
    row = await find.get_process(tx, tenant, process_id)
    found = await store.get(tx, tenant.no, verdict_id)
    if found is None or (found.agent_no, found.key) != (row.agent_no, row.key):
        raise NotFound("There is no such verdict on this process.")
    version = await store.next_version(tx, tenant.no, found.group)
    if await store.end(tx, tenant.no, verdict_id, version, (actor.name, clock.now())):
        before = {"verdict": found.verdict, "evidence": found.evidence, "person": found.person}
        await record(tx, actor, Entry("verdict.withdraw", f"process:{row.process_id}", before=before))


def _held(process: Process) -> list[Slot]:
    return [*(process.slots or ()), *(() if process.tree is None else process.tree.slots.values())]


def _lines(process: Process, said: Saying) -> list[Line]:
    """Return what a verdict is about: the evidence of the process, for a tree's root that of the tree too."""
    held = _held(process)
    unknown = sorted(set(said.evidence) - {slot.id for slot in held})
    if unknown:
        raise ValidationFailed(
            "The process does not have this evidence.",
            errors=[{"pointer": "/evidence", "code": "unknown", "detail": name} for name in unknown],
        )
    if not held and said.verdict != "confirmed":
        raise Conflict("There is no evidence against this process that could be answered.")
    lines = {
        (slot.exe, process.alphabet, slot.id, slot.detail)
        for slot in held
        if not said.evidence or slot.id in said.evidence
    }
    return sorted(lines)
