"""Turns a finding of the engine into an anomaly: its glass box, the bytes that made the difference, and a sentence."""

import importlib.metadata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, cast

import numpy as np
import zstandard

from guardhouse.analysis.anomaly import glassbox
from guardhouse.analysis.anomaly.engine import VERSION, Engine
from guardhouse.analysis.anomaly.event import Event
from guardhouse.analysis.anomaly.explain import Explanation, chance, nearest_normal, sentence
from guardhouse.analysis.anomaly.finding import FamilyScore, Finding
from guardhouse.analysis.anomaly.tail import p_of
from guardhouse.anomalies.configs.config import Judging
from guardhouse.anomalies.findings.anomaly import Anomaly, Kind, SeverityName
from guardhouse.anomalies.stream import Stream
from guardhouse.foundation.clock import from_microseconds
from guardhouse.foundation.ids import new_id

_UNIT: Final = 1_000_000
_MILLI: Final = 1000
_MAX_TEXT: Final = 4000
_LIBZSTD: Final = ".".join(str(part) for part in zstandard.ZSTD_VERSION)
_NUMPY: Final = importlib.metadata.version("numpy")


@dataclass(frozen=True, slots=True)
class Scene:
    """Where and by what something was found. ``history``: masked lines up to the finding's last event."""

    stream: Stream
    judging: Judging
    config_version: int
    now: datetime


@dataclass(frozen=True, slots=True)
class Seen:
    """What a finding was found in: its last event, and the masked lines up to it; None and empty without lines."""

    event: Event | None
    history: Sequence[bytes]


def describe(
    scene: Scene, engine: Engine, finding: Finding, seen: Seen, *, suppressed_by: str | None
) -> Anomaly:
    """Return the anomaly of a finding; ``suppressed_by`` says why it alerts nobody."""
    stream, judging = scene.stream, scene.judging
    explained = _explained(engine, finding, seen.event)
    sample = glassbox.take_sample(seen.history, judging.baseline_size, judging.window_size)
    figures = None if sample is None else glassbox.figures(sample, glassbox.Compressor())
    near = nearest_normal(explained.masked, engine.known_lines()) if explained else None
    said = (
        sentence(stream.slug, explained, finding.surprise, near)
        if explained
        else f"`{stream.slug}`: {finding.kind} {finding.subject or finding.entity} is unusual"
        f" (chance {chance(finding.surprise)})."
    )
    return Anomaly(
        id=new_id(),
        timestamp=from_microseconds(finding.time_us),
        stream_no=stream.no,
        stream_id=stream.id,
        stream_type=stream.type,
        kind=cast("Kind", finding.kind),
        status="pending",
        severity=cast("SeverityName", finding.severity),
        first_seq=finding.first_seq,
        last_seq=finding.last_seq,
        signature="|".join(str(part) for part in finding.signature),
        p_value=finding.p,
        significant=finding.p < judging.p_value_threshold,
        alerted=suppressed_by is None,
        ncd_score=None if figures is None else figures.ncd,
        explanation_text=said[:_MAX_TEXT],
        details_text=_details(scene, finding, figures)[:_MAX_TEXT],
        entity=finding.entity,
        score=_score(finding),
        glass_box=_glass_box(scene, finding, figures, shrunk=sample is not None and sample.shrunk),
        decision={
            "alerted": suppressed_by is None,
            "rule": "fdr",
            "q": judging.fdr_q,
            "alert_p": judging.alert_p,
            "suppressed_by": suppressed_by,
        },
        explanation=_explanation(explained, near),
        versions={
            "engine": VERSION,
            "coder": judging.coder,
            "config_version": scene.config_version,
            "libzstd": _LIBZSTD,
            "numpy": _NUMPY,
        },
        tags=(stream.type, f"severity:{finding.severity}"),
        acknowledged_by=None,
        acknowledged_at=None,
        dismissed_by=None,
        dismissed_at=None,
        notes=None,
        created_at=scene.now,
        updated_at=scene.now,
        version=1,
    )


def _explained(engine: Engine, finding: Finding, event: Event | None) -> Explanation | None:
    if event is None or finding.kind not in ("event", "record") or engine.state == "calibrating":
        return None
    return engine.explain(event)


def _score(finding: Finding) -> dict[str, Any]:
    return {
        "bits": finding.score_milli / _MILLI,
        "excess_bits": finding.excess_milli / _MILLI,
        "surprise": finding.surprise / _UNIT,
        "anchor_p": None if finding.anchor_surprise is None else p_of(finding.anchor_surprise),
        "pinned": finding.pinned,
        "template_id": finding.template,
        "subject": finding.subject,
        "families": [_family(one) for one in finding.families],
        "details": {name: _plain(value) for name, value in finding.details.items()},
    }


def _family(one: FamilyScore) -> dict[str, Any]:
    return {
        "name": one.name,
        "score_milli": int(one.score_milli),
        "p": p_of(one.surprise),
        "reservoir": int(one.reservoir),
        "extrapolated": bool(one.extrapolated),
    }


def _glass_box(
    scene: Scene, finding: Finding, figures: glassbox.Figures | None, *, shrunk: bool
) -> dict[str, Any]:
    """Return what can be recomputed; the permutation test is run when somebody asks for it."""
    seed = glassbox.seed_of(int(scene.stream.seed, 16), finding.first_seq, finding.last_seq)
    if figures is None:
        return {"state": "unavailable", "seed": f"{seed:016x}"}
    return {"state": "figures", "seed": f"{seed:016x}", "shrunk": shrunk, **asdict(figures)}


def _explanation(explained: Explanation | None, near: Any) -> dict[str, Any]:
    if explained is None:
        return {}
    return {
        "heat_map": {
            "text": explained.text[:_MAX_TEXT],
            "masked": explained.masked[:_MAX_TEXT],
            "milli_bits": [int(bits) for bits in explained.milli_bits[:_MAX_TEXT]],
        },
        "spans": [asdict(span) for span in explained.spans],
        "nearest_normal": None if near is None else asdict(near),
        "fields": [asdict(part) for part in explained.parts],
    }


def _details(scene: Scene, finding: Finding, figures: glassbox.Figures | None) -> str:
    judging = scene.judging
    bits, excess = finding.score_milli / _MILLI, finding.excess_milli / _MILLI
    rare = f"p = {finding.p:.3g}, {chance(finding.surprise)}"
    blocks = [
        f"CODE LENGTH\n{bits:.3f} bits, {excess:.3f} beyond the median.",
        f"SIGNIFICANCE\n{rare}; q = {judging.fdr_q}, alert at p <= {judging.alert_p}.",
    ]
    if figures is not None:
        ratios = f"baseline {figures.ratio_baseline:.3f}, window {figures.ratio_window:.3f}"
        blocks += [
            f"COMPRESSION\n{ratios}, change {figures.ratio_change:+.3f}.",
            f"ENTROPY\nbaseline {figures.entropy_baseline:.3f}, window {figures.entropy_window:.3f} bits per byte.",
            f"NCD\n{figures.ncd:.3f} of {figures.c_baseline}, {figures.c_window} and {figures.c_combined} bytes.",
        ]
    return "\n\n".join(blocks)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value
