"""Takes one batch of host events: a verdict per item, stored once, answered with 207.

One transaction holds the nonce, the key, the positions, the events and the answer. No answer is sent
before its commit; after a failed commit the key stays usable and a retry gives the true answer.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import msgspec
from starlette.datastructures import Headers

from guardhouse.agents import positions
from guardhouse.agents.store import Stream
from guardhouse.events import partitions, write_process
from guardhouse.events.write_process import AlreadyStored, DayMissing, Owner
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import Unavailable
from guardhouse.foundation.request import system_transaction, tenant_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.identity import signatures
from guardhouse.identity.caller import Caller
from guardhouse.ingest import replay
from guardhouse.ingest.counters import ACCEPTED, BATCH_SIZE, DUPLICATES, REJECTED
from guardhouse.ingest.host_batch import HostBatch
from guardhouse.ingest.host_items import OLDEST, Batch, ItemError, Verdicts, judge
from guardhouse.ingest.replay import BatchKey
from guardhouse.ingest.store import AnsweredBatch
from guardhouse.scores.wait import Backlog, scored_up_to, scores_since

ATTEMPTS: Final = 3
MAX_WAIT_SECONDS: Final = 5
MAX_WAIT_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch as decoded, with who sent it, of which agent, and under which key."""

    caller: Caller
    agent_id: str
    batch: HostBatch
    key: BatchKey
    headers: Headers


@dataclass(frozen=True, slots=True)
class HostAnswer:
    """Status, body and headers to send."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class _Result(msgspec.Struct, gc=False):
    index: int
    id: str | None
    status: str
    error: ItemError | None = None


class _Answer(msgspec.Struct, omit_defaults=True):
    accepted: int
    duplicates: int
    errors: int
    position: int
    results: list[_Result]
    scores: list[Any] | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class _Stored:
    """The outcome of one attempt. ``agent`` as it was before (None for a replay)."""

    verdicts: Verdicts
    done: AnsweredBatch
    agent: positions.LockedAgent | None
    replayed: bool
    legacy: bool


async def take_batch(resources: Resources, backlog: Backlog, sent: Sent) -> HostAnswer:
    """Judge, store and answer one batch.

    Raises:
        Problem: its key is in use, the backlog is too long, or the database is away; nothing is stored then.
    """
    await backlog.check()
    for attempt in range(ATTEMPTS):
        try:
            stored = await _store(resources, sent, careful=attempt > 0)
        except AlreadyStored:
            continue
        except DayMissing:
            async with system_transaction(resources) as tx:
                await partitions.ensure_days(tx, resources.clock.now().date())
        else:
            return await _answer(resources, sent, stored)
    raise Unavailable("The batch could not be stored just now.")


async def _store(resources: Resources, sent: Sent, *, careful: bool) -> _Stored:
    caller, agent_id, batch, key = sent.caller, sent.agent_id, sent.batch, sent.key
    async with tenant_transaction(resources, caller.tenant) as tx:
        if caller.signed is not None:
            await signatures.use_nonce(tx, resources, caller.signed)
        answered = await replay.find_answered(tx, caller.tenant, agent_id, key)
        now = resources.clock.now()
        if answered is not None:
            verdicts = _judge(
                resources, caller.tenant, agent_id, batch, replace(key, key=answered.key), answered
            )
            if replay.is_stale(answered, now):
                answered = replace(answered, duplicates=frozenset(event.index for event in verdicts.events))
            return _Stored(verdicts, answered, None, replayed=True, legacy=key.legacy)
        fresh = AnsweredBatch(key.key, key.hash, now, 0, frozenset())
        verdicts = _judge(resources, caller.tenant, agent_id, batch, key, fresh)
        create_as = caller.actor if caller.agent_id is None else None
        agent = await positions.lock_agent(tx, resources, caller.tenant, agent_id, create_as=create_as)
        if agent is None:
            raise signatures.Unauthorized(resources.clock)
        duplicates = await _write(tx, caller.tenant, agent, batch, verdicts, fresh, careful=careful)
        taken = len(verdicts.events) - len(duplicates)
        await positions.advance(tx, agent, taken, now, verdicts.skew_ms)
        done = replace(fresh, position=agent.next_position + taken - 1, duplicates=frozenset(duplicates))
        await replay.remember(tx, caller.tenant, agent_id, done, legacy=key.legacy)
        if taken:
            await tx.run("SELECT pg_notify('score', $1)", str(agent.no))
    _count(verdicts, done)
    return _Stored(verdicts, done, agent, replayed=False, legacy=key.legacy)


def _judge(
    resources: Resources,
    tenant: TenantKey,
    agent_id: str,
    batch: HostBatch,
    key: BatchKey,
    answered: AnsweredBatch,
) -> Verdicts:
    oldest = min(OLDEST, timedelta(days=resources.settings.events_retention_days))
    facts = Batch(
        tenant=str(tenant.id),
        agent=agent_id,
        stream=batch.stream,
        key=key.key,
        received_at=answered.received_at,
        oldest=answered.received_at - oldest,
    )
    return judge(facts, batch.items)


async def _write(  # noqa: PLR0913 - as _store
    tx: Tx,
    tenant: TenantKey,
    agent: positions.LockedAgent,
    batch: HostBatch,
    verdicts: Verdicts,
    fresh: AnsweredBatch,
    *,
    careful: bool,
) -> set[int]:
    if not verdicts.events:
        return set()
    boot_id = batch.boot_id
    if batch.beside_agent:  # an alert joins the process that the agent knows by this pid
        boot_id = await write_process.get_newest_boot(tx, tenant, agent.no)
    source = (batch.stream or "", boot_id or "", batch.alphabet or "native.v1")
    source_no = await write_process.get_source(tx, tenant, agent.no, source)
    numbers = [event.seq for event in verdicts.events if event.seq is not None]
    if batch.stream is not None and numbers:
        high = await positions.get_high_seq(tx, agent, batch.stream)
        if high is not None:
            write_process.mark_late(verdicts.events, high)
    owner = Owner(tenant, agent.no, source_no, fresh.received_at)
    duplicates = await write_process.write_events(
        tx, owner, verdicts.events, agent.next_position, careful=careful
    )
    if batch.stream is not None and numbers:
        stored = [e.seq for e in verdicts.events if e.seq is not None and e.index not in duplicates]
        seen = Stream(
            batch.stream,
            batch.boot_id,
            batch.alphabet,
            min(numbers),
            max(numbers),
            len(stored),
            seq_reused=False,
        )
        await positions.note_stream(tx, tenant, agent, seen)
    return duplicates


async def _answer(resources: Resources, sent: Sent, stored: _Stored) -> HostAnswer:
    preferences = _preferences(sent.headers)
    headers = {"Content-Type": "application/json"}
    applied = []
    if stored.legacy:
        headers["Deprecation"] = "true"
    if stored.replayed:
        headers["Idempotency-Replayed"] = "true"
    minimal = preferences.get("return") == "minimal"
    if minimal:
        applied.append("return=minimal")
    answer = _render(stored, minimal=minimal)
    seconds = _seconds(preferences.get("wait", ""))
    if seconds is not None and stored.agent is not None:
        # The batch is committed: nothing that fails from here on may look like a refusal.
        with contextlib.suppress(Unavailable):
            if await scored_up_to(resources, stored.agent.no, stored.done.position, seconds):
                applied.append(f"wait={seconds}")
            first = stored.agent.next_position
            answer.scores = await scores_since(resources, sent.caller.tenant, stored.agent.no, first)
    if applied:
        headers["Preference-Applied"] = ", ".join(applied)
    return HostAnswer(207, msgspec.json.encode(answer), headers)


def _preferences(headers: Headers) -> dict[str, str]:
    """Return the members of ``Prefer`` (RFC 7240), names in lower case, values without quotes."""
    found = {}
    for member in ",".join(headers.getlist("prefer")).split(","):
        name, _, value = member.partition("=")
        found[name.strip().lower()] = value.strip().strip('"')
    return found


def _seconds(wait: str) -> int | None:
    if not wait.isascii() or not wait.isdigit():
        return None
    return min(int(wait[:MAX_WAIT_DIGITS]), MAX_WAIT_SECONDS)


def _render(stored: _Stored, *, minimal: bool) -> _Answer:
    verdicts, done = stored.verdicts, stored.done
    results = [_Result(index, None, "error", error) for index, error in verdicts.errors.items()]
    for event in verdicts.events:
        if event.index in done.duplicates:
            results.append(_Result(event.index, event.event_id.hex(), "duplicate"))
        elif not minimal:
            results.append(_Result(event.index, event.event_id.hex(), "accepted"))
    results.sort(key=_index_of)
    accepted = len(verdicts.events) - len(done.duplicates)
    return _Answer(accepted, len(done.duplicates), len(verdicts.errors), done.position, results)


def _index_of(result: _Result) -> int:
    return result.index


def _count(verdicts: Verdicts, done: AnsweredBatch) -> None:
    ACCEPTED.labels("host").inc(len(verdicts.events) - len(done.duplicates))
    DUPLICATES.inc(len(done.duplicates))
    BATCH_SIZE.observe(verdicts.total)
    for error in verdicts.errors.values():
        REJECTED.labels(error.code).inc()
