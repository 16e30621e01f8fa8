"""The engine's statements: claim fairly, keep the lease, settle, bring back what was lost.

A lease is fenced by ``attempt``: whoever lost the job to another worker changes nothing any more. Time
comes from the caller's clock. States: waiting → ready → running → gone, or back to waiting, or dead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

import asyncpg

from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.jobs import ClaimedJob, Job, enqueue

DEAD_DAYS: Final = 30
_STEP: Final = 1000  # rows one housekeeping statement touches

# A walk over the distinct fairness keys that have ready jobs (one index probe each), beginning after the key
# served last; every key found gets the same share of the batch, so a long queue cannot hide a short one.
_CLAIM: Final = """
WITH RECURSIVE walk AS (
    (SELECT fairness_key, 1 AS step FROM jobs WHERE state = 'ready' AND fairness_key > $1
     ORDER BY fairness_key LIMIT 1)
    UNION ALL
    SELECT following.fairness_key, walk.step + 1
    FROM walk CROSS JOIN LATERAL (
        SELECT fairness_key FROM jobs WHERE state = 'ready' AND fairness_key > walk.fairness_key
        ORDER BY fairness_key LIMIT 1) AS following
    WHERE walk.step < $2
), picked AS (
    SELECT candidate.id
    FROM walk CROSS JOIN LATERAL (
        SELECT id FROM jobs
        WHERE state = 'ready' AND fairness_key = walk.fairness_key AND name = ANY ($3::text[])
        ORDER BY priority, id
        LIMIT (SELECT greatest(1, ceil($2::numeric / count(*)))::int FROM walk)
        FOR UPDATE SKIP LOCKED) AS candidate
    LIMIT $2
)
UPDATE jobs SET state = 'running', attempt = attempt + 1, worker_id = $5, unique_key = NULL,
    lease_until = $6::timestamptz + lease.seconds * interval '1 second'
FROM picked, unnest($3::text[], $4::float8[]) AS lease (name, seconds)
WHERE jobs.id = picked.id AND lease.name = jobs.name
RETURNING jobs.id, jobs.name, payload::text AS payload, tenant_id, tenant_no, fairness_key, attempt, failures,
    run_at, correlation_id, trace_id
"""

_SETTLE: Final = """
UPDATE jobs SET state = result.state, run_at = result.run_at, failures = result.failures,
    reason = result.reason, lease_until = NULL, worker_id = NULL
FROM unnest($1::bigint[], $2::int[], $3::text[], $4::timestamptz[], $5::int[], $6::text[])
    AS result (id, attempt, state, run_at, failures, reason)
WHERE jobs.id = result.id AND jobs.attempt = result.attempt AND jobs.state = 'running'
"""


@dataclass(frozen=True, slots=True)
class Claimer:
    """Who claims and what it can run."""

    worker_id: UUID
    jobs: Mapping[str, Job[Any]]


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended: ``done`` leaves the table, ``waiting`` runs again at ``run_at``, ``dead`` stays for people."""

    job: ClaimedJob
    state: Literal["done", "waiting", "ready", "dead"]
    run_at: datetime
    failures: int
    reason: str | None = None


async def claim(
    tx: Tx, claimer: Claimer, after: str, limit: int, now: datetime
) -> tuple[list[ClaimedJob], str]:
    """Lease up to ``limit`` ready jobs, beginning with the fairness key after ``after``.

    Returns them with the key to begin after next time; at the end of the keys the walk starts over.
    """
    found = await _claim(tx, claimer, after, limit, now)
    if after and len(found) < limit:
        found += await _claim(tx, claimer, "", limit - len(found), now)
    return found, found[-1].fairness_key if found else ""


async def _claim(tx: Tx, claimer: Claimer, after: str, limit: int, now: datetime) -> list[ClaimedJob]:
    rows = await tx.fetch(
        _CLAIM,
        after,
        limit,
        list(claimer.jobs),
        [job.lease_seconds for job in claimer.jobs.values()],
        claimer.worker_id,
        now,
    )
    return sorted((_claimed(row) for row in rows), key=lambda job: (job.fairness_key, job.id))


async def settle(tx: Tx, results: Sequence[Result]) -> None:
    """Write how runs ended; results of leases that were lost in between have no effect."""
    done = [result.job for result in results if result.state == "done"]
    if done:
        await tx.run(
            "DELETE FROM jobs USING unnest($1::bigint[], $2::int[]) AS done (id, attempt)"
            " WHERE jobs.id = done.id AND jobs.attempt = done.attempt AND state = 'running'",
            [job.id for job in done],
            [job.attempt for job in done],
        )
    kept = [result for result in results if result.state != "done"]
    if kept:
        await tx.run(
            _SETTLE,
            [result.job.id for result in kept],
            [result.job.attempt for result in kept],
            [result.state for result in kept],
            [result.run_at for result in kept],
            [result.failures for result in kept],
            [result.reason for result in kept],
        )


async def renew(tx: Tx, held: Sequence[ClaimedJob], claimer: Claimer, now: datetime) -> set[int]:
    """Prolong the leases of jobs in hand and return the ids that are still ours."""
    rows = await tx.fetch(
        "UPDATE jobs SET lease_until = held.until"
        " FROM unnest($1::bigint[], $2::int[], $3::timestamptz[]) AS held (id, attempt, until)"
        " WHERE jobs.id = held.id AND jobs.attempt = held.attempt AND state = 'running' RETURNING jobs.id",
        [job.id for job in held],
        [job.attempt for job in held],
        [now + timedelta(seconds=claimer.jobs[job.name].lease_seconds) for job in held],
    )
    return {row["id"] for row in rows}


async def promote(tx: Tx, now: datetime) -> int:
    """Make waiting jobs ready whose time has come; returns how many."""
    return _count(
        await tx.run(
            "UPDATE jobs SET state = 'ready' WHERE id = ANY (ARRAY("
            "SELECT id FROM jobs WHERE state = 'waiting' AND run_at <= $1 ORDER BY run_at LIMIT $2"
            " FOR UPDATE SKIP LOCKED))",
            now,
            _STEP,
        )
    )


async def reap(tx: Tx, claimer: Claimer, now: datetime) -> list[tuple[str, str]]:
    """Take back jobs whose worker let the lease run out: ready again, or dead after too many failures.

    Returns (name, new state) of each.
    """
    rows = await tx.fetch(
        "UPDATE jobs SET failures = jobs.failures + 1, lease_until = NULL, worker_id = NULL, run_at = $1,"
        " reason = 'the worker was lost',"
        " state = CASE WHEN jobs.failures + 1 >= kind.failures THEN 'dead' ELSE 'ready' END"
        " FROM unnest($2::text[], $3::int[]) AS kind (name, failures)"
        " WHERE jobs.name = kind.name AND jobs.id = ANY (ARRAY("
        "SELECT id FROM jobs WHERE state = 'running' AND lease_until < $1 AND name = ANY ($2::text[])"
        " ORDER BY lease_until LIMIT $4 FOR UPDATE SKIP LOCKED)) RETURNING jobs.name, state",
        now,
        list(claimer.jobs),
        [job.retry.failures for job in claimer.jobs.values()],
        _STEP,
    )
    return [(row["name"], row["state"]) for row in rows]


async def prune_dead(tx: Tx, now: datetime) -> int:
    """Delete dead letters older than 30 days; returns how many."""
    return _count(
        await tx.run(
            "DELETE FROM jobs WHERE id = ANY (ARRAY("
            "SELECT id FROM jobs WHERE state = 'dead' AND run_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED))",
            now - timedelta(days=DEAD_DAYS),
            _STEP,
        )
    )


async def run_schedules(tx: Tx, schedules: Mapping[str, Job[Any]], now: datetime) -> list[str]:
    """Enqueue every schedule whose time has come and whose last job is over; returns their names.

    The row's lock makes it happen once whatever the number of workers; a new schedule is due at once.
    """
    await tx.run(
        "INSERT INTO job_schedules (name, next_at) SELECT unnest($1::text[]), $2 ON CONFLICT DO NOTHING",
        list(schedules),
        now,
    )
    due = await tx.fetch(
        "SELECT name FROM job_schedules AS s WHERE name = ANY ($1::text[]) AND next_at <= $2"
        " AND NOT EXISTS (SELECT FROM jobs WHERE jobs.id = s.last_job AND jobs.state <> 'dead')"
        " ORDER BY name FOR UPDATE OF s SKIP LOCKED",
        list(schedules),
        now,
    )
    for row in due:
        job = schedules[row["name"]]
        await tx.run(
            "UPDATE job_schedules SET last_job = $2, next_at = $3 WHERE name = $1",
            job.name,
            await enqueue(tx, job, None),
            now + timedelta(seconds=job.every_seconds or 0),
        )
    return [row["name"] for row in due]


async def count_due(tx: Tx, limit: int = 10_000) -> dict[str, int]:
    """Return how many jobs of each name are ready, counting no further than ``limit`` in all."""
    rows = await tx.fetch(
        "SELECT name, count(*) AS n FROM (SELECT name FROM jobs WHERE state = 'ready' LIMIT $1) AS due GROUP BY name",
        limit,
    )
    return {row["name"]: row["n"] for row in rows}


def _claimed(row: "asyncpg.Record") -> ClaimedJob:
    tenant = None if row["tenant_id"] is None else TenantKey(row["tenant_id"], row["tenant_no"])
    return ClaimedJob(
        row["id"],
        row["name"],
        row["payload"],
        tenant,
        row["fairness_key"],
        row["attempt"],
        row["failures"],
        row["run_at"],
        row["correlation_id"],
        row["trace_id"],
    )


def _count(tag: str) -> int:
    return int(tag.rpartition(" ")[2])
