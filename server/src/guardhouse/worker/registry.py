"""Everything the worker runs, by name: the one list of jobs, schedules and long loops.

A loop takes its share of the work by leases of its own, so every worker runs every loop.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from guardhouse.agents.instances import jobs as instance_jobs
from guardhouse.agents.projects import jobs as project_jobs
from guardhouse.agents.rules import jobs as app_rules_jobs
from guardhouse.agents.silence import jobs as silence_jobs
from guardhouse.anomalies.scan import jobs as scan_jobs
from guardhouse.anomalies.streams import jobs as anomaly_stream_jobs
from guardhouse.detections.asynchronous import jobs as asynchronous_jobs
from guardhouse.detections.asynchronous.worker_desk import keep_desk
from guardhouse.detections.feedback import jobs as feedback_jobs
from guardhouse.detections.records import jobs as record_jobs
from guardhouse.events import jobs as events_jobs
from guardhouse.events.ips import jobs as ips_jobs
from guardhouse.events.policies import jobs as policies_jobs
from guardhouse.events.streams import jobs as streams_jobs
from guardhouse.foundation.jobs import Job
from guardhouse.foundation.resources import Resources
from guardhouse.identity import jobs as identity_jobs
from guardhouse.identity.audit_log import jobs as audit_log_jobs
from guardhouse.identity.tokens import jobs as token_jobs
from guardhouse.ingest import jobs as ingest_jobs
from guardhouse.ingest.envelopes import jobs as envelope_jobs
from guardhouse.ingest.otlp import jobs as otlp_jobs
from guardhouse.live import jobs as live_jobs
from guardhouse.notices import jobs as notices_jobs
from guardhouse.runs import jobs as run_jobs
from guardhouse.scores import jobs as scores_jobs
from guardhouse.scores.baselines import jobs as baseline_jobs
from guardhouse.scores.heads import jobs as heads_jobs
from guardhouse.scores.previews import jobs as previews_jobs
from guardhouse.scores.recalculations import jobs as recalculation_jobs
from guardhouse.scores.rules import jobs as rules_jobs
from guardhouse.usage import jobs as usage_jobs
from guardhouse.webhooks import jobs as webhooks_jobs
from guardhouse.webhooks.channels import jobs as channels_jobs
from guardhouse.webhooks.turning import jobs as turning_jobs
from guardhouse.worker import upkeep


@dataclass(frozen=True, slots=True)
class LongLoop:
    """A loop that runs as long as the worker: ``run(resources, stop)`` returns soon after ``stop`` is set."""

    name: str
    run: Callable[[Resources, asyncio.Event], Awaitable[None]]


JOBS: Final[tuple[Job[Any], ...]] = (
    webhooks_jobs.run_replay,
    app_rules_jobs.follow_rules,
    baseline_jobs.learn_rest,
    previews_jobs.run_preview,
    recalculation_jobs.run_recalculation,
    asynchronous_jobs.judge,
)

SCHEDULES: Final[tuple[Job[None], ...]] = (
    events_jobs.keep_partitions,
    events_jobs.keep_projects,
    project_jobs.end_projects,
    ips_jobs.forget_addresses,
    streams_jobs.seal,
    streams_jobs.forget_minutes,
    identity_jobs.prune_nonces,
    token_jobs.keep_signing_keys,
    token_jobs.prune_tokens,
    identity_jobs.prune_sessions,
    audit_log_jobs.check_audit_logs,
    identity_jobs.prune_registrations,
    identity_jobs.tell_expiring,
    ingest_jobs.prune_batches,
    ingest_jobs.prune_telemetry,
    otlp_jobs.forget_exports,
    envelope_jobs.open_held,
    envelope_jobs.prune_held,
    silence_jobs.tell_silent,
    app_rules_jobs.find_due_rules,
    app_rules_jobs.tell_adopted_rules,
    app_rules_jobs.prune_rule_documents,
    instance_jobs.fold_contacts,
    instance_jobs.watch_instances,
    scores_jobs.keep_partitions,
    baseline_jobs.learn_baselines,
    recalculation_jobs.prune_recalculations,
    scores_jobs.prune_episodes,
    heads_jobs.train_heads,
    rules_jobs.end_shadows,
    rules_jobs.prune_rule_hits,
    previews_jobs.prune_previews,
    anomaly_stream_jobs.keep_segments,
    anomaly_stream_jobs.forget_keys,
    scan_jobs.forget_decisions,
    record_jobs.keep_records,
    run_jobs.reap_runs,
    run_jobs.reconcile_runs,
    run_jobs.expire_runs,
    asynchronous_jobs.prune_inputs,
    feedback_jobs.prune_feedback,
    notices_jobs.keep_partitions,
    live_jobs.prune_tickets,
    usage_jobs.keep_log,
    webhooks_jobs.keep_partitions,
    channels_jobs.summarise_channels,
    channels_jobs.prune_channels,
    upkeep.prune_dead_letters,
    upkeep.prune_answers,
)

LOOPS: Final[tuple[LongLoop, ...]] = (
    LongLoop("score_lanes", scores_jobs.score_lanes),
    LongLoop("judge_streams", scan_jobs.judge_streams),
    LongLoop("rate_addresses", ips_jobs.rate),
    LongLoop("judge_addresses", policies_jobs.judge),
    LongLoop("work_runs", run_jobs.work_runs),
    LongLoop("webhook_fan_out", turning_jobs.turn_notices),
    LongLoop("webhook_deliver", webhooks_jobs.deliver),
    LongLoop("detection_desk", keep_desk),
)
