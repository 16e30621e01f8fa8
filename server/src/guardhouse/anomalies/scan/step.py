"""One step of judging: the next segments of a stream go through its engine, exactly once, in their order.

Segments are read in one transaction, judged with none open, and everything that follows is written in another, which
moves the stream on only from where it was seen: a step that another worker has done meanwhile is lost as a whole.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client import Counter

from guardhouse.analysis.anomaly.engine import Engine
from guardhouse.analysis.anomaly.event import Event
from guardhouse.analysis.anomaly.event import Segment as EngineSegment
from guardhouse.analysis.anomaly.finding import Change, Finding, Results
from guardhouse.anomalies.configs.config import resolve
from guardhouse.anomalies.configs.in_force import find_config
from guardhouse.anomalies.findings.anomaly import Anomaly
from guardhouse.anomalies.findings.describe import Scene, Seen, describe
from guardhouse.anomalies.findings.write_anomalies import tell_ready, write_anomalies
from guardhouse.anomalies.scan import store
from guardhouse.anomalies.scan.engines import Engines, Held, Opening
from guardhouse.anomalies.scan.read_event import engine_config, engine_events
from guardhouse.anomalies.scan.store import Decided, Progress, Waiting
from guardhouse.anomalies.stream import Learning
from guardhouse.anomalies.streams.find_stream import get_stream
from guardhouse.anomalies.streams.read_segments import read_events, read_segments
from guardhouse.anomalies.streams.segments import read_segment
from guardhouse.anomalies.streams.store import Segment
from guardhouse.foundation.clock import Clock

STEP_SEGMENTS: Final = 10
HISTORY_SEGMENTS: Final = 50
JUDGED: Final = Counter(
    "guardhouse_judged_events_total", "Events that went through an engine.", ["stream_type"]
)
CANDIDATES: Final = Counter("guardhouse_candidates_total", "Events that a test rejected.", ["reason"])


class StepLost(Exception):  # noqa: N818 - tells the lane to forget what it has in memory
    """Another worker has judged these segments, or the stream is gone; nothing was written."""


@dataclass(slots=True)
class _Judged:
    """What came of some segments. ``found``: findings with why they alert nobody, None where they do."""

    found: list[tuple[Finding, str | None]] = field(default_factory=list)
    decided: list[Decided] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    events: dict[int, Event] = field(default_factory=dict)
    count: int = 0
    learning: Learning = "calibrating"


async def judge_step(opening: Opening, engines: Engines, waiting: Waiting, clock: Clock) -> int:
    """Judge the next segments of one stream, at most ten; returns the number reached.

    Raises:
        StepLost: somebody else has.
    """
    now = clock.now()
    async with opening() as tx:
        stream = await get_stream(tx, waiting.tenant, waiting.stream_id)
        config = await find_config(tx, waiting.tenant, now)
        span = (stream.processed_seq, stream.last_seq)
        segments = await read_segments(tx, waiting.tenant, stream.no, span, STEP_SEGMENTS + 1)
    held = await engines.get(opening, waiting, stream)
    scene = Scene(stream, resolve(config, stream), config.version, now)
    judged = await asyncio.to_thread(_judge, held, scene, segments[:STEP_SEGMENTS])
    anomalies = await _describe(opening, waiting, held.engine, scene, judged)
    reached = segments[min(len(segments), STEP_SEGMENTS) - 1].last_seq if segments else stream.last_seq
    next_at = segments[STEP_SEGMENTS].received_at if len(segments) > STEP_SEGMENTS else None
    outliers = len(held.engine.lines.outliers)
    progress = Progress(stream.processed_seq, reached, judged.learning, outliers, next_at)
    async with opening() as tx:
        if not await store.advance(tx, waiting, progress):
            raise StepLost(stream.slug)
        await store.add_decisions(tx, waiting.tenant.no, stream.no, judged.decided, now)
        await write_anomalies(tx, waiting.tenant, stream, anomalies)
        if any(change.what == "ready" for change in judged.changes):
            await tell_ready(tx, waiting.tenant, stream, reached, outliers)
    JUDGED.labels(stream.type).inc(judged.count)
    for _, reason in judged.found:
        CANDIDATES.labels(reason or "alerted").inc()
    if not segments:  # beyond retention: there is nothing to judge
        engines.forget(stream.no)
    return reached


def _judge(held: Held, scene: Scene, segments: Sequence[Segment]) -> _Judged:
    """Run segments through the engine; what it learns stays in it."""
    judged, engine = _Judged(), held.engine
    for segment in segments:
        stored = read_segment(segment.payload, segment.sha256)
        events = engine_events(stored, segment.first_seq)
        config = engine_config(scene.judging) if held.config_version != scene.config_version else None
        results = engine.process(EngineSegment(events, config=config))
        held.config_version = scene.config_version
        found = [(finding, _silence(engine, finding)) for finding in results.findings]
        wanted = {finding.last_seq for finding, _ in found}
        judged.events |= {event.seq: event for event in events if event.seq in wanted}
        judged.found += found
        judged.changes += results.changes
        judged.decided.append(_decided(segment, scene, results))
        judged.count += len(events)
    judged.learning = engine.state
    return judged


def _silence(engine: Engine, finding: Finding) -> str | None:
    """Return why a finding alerts nobody; whether the budget has room depends on those before it."""
    if finding.quiet:
        return finding.quiet
    return None if engine.spend(finding) else "over_budget"


def _decided(segment: Segment, scene: Scene, results: Results) -> Decided:
    blocks: list[dict[str, Any]] = [
        {
            "first_seq": int(block.first_seq),
            "last_seq": int(block.last_seq),
            "events": int(block.events),
            "rejected": int(block.rejected),
            "fdr_q": float(block.fdr_q),
            "alert_surprise": int(block.alert_surprise),
        }
        for block in results.decisions
    ]
    return Decided(
        segment.first_seq,
        segment.last_seq,
        scene.config_version,
        int(results.rejected.sum()),
        len(results.findings),
        blocks,
    )


async def _describe(
    opening: Opening, waiting: Waiting, engine: Engine, scene: Scene, judged: _Judged
) -> list[Anomaly]:
    """Return the anomalies of what was found, each with the events before it."""
    made = []
    for finding, silence in judged.found:
        history = await _history(opening, waiting, engine, scene, finding)
        seen = Seen(judged.events.get(finding.last_seq), history)
        made.append(await asyncio.to_thread(describe, scene, engine, finding, seen, suppressed_by=silence))
    return made


async def _history(
    opening: Opening, waiting: Waiting, engine: Engine, scene: Scene, finding: Finding
) -> list[bytes]:
    """Return the masked lines of baseline and window, up to the last event of a finding."""
    learned = engine.lines.learned
    if learned is None:
        return []
    size = scene.judging.baseline_size + scene.judging.window_size
    span = (max(0, finding.last_seq - size), finding.last_seq)
    async with opening() as tx:
        segments = await read_segments(tx, waiting.tenant, scene.stream.no, span, HISTORY_SEGMENTS)
    events = [engine_events([stored], seq)[0] for seq, stored in read_events(segments, span)]
    lined = [event for event in events if event.text is not None or event.body is not None]
    return learned.reader.read(lined, with_fields=False).lines if lined else []
