"""Anomalies for tests that need one without the thousands of events that judging would take."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from guardhouse.anomalies.findings.anomaly import Anomaly
from guardhouse.foundation.ids import new_id


def anomaly_of(stream_id: UUID, at: datetime, **members: Any) -> Anomaly:
    """Return an anomaly of a stream."""
    made = Anomaly(
        id=new_id(),
        timestamp=at,
        stream_no=1,
        stream_id=stream_id,
        stream_type="logs",
        kind="event",
        status="pending",
        severity="high",
        first_seq=501,
        last_seq=501,
        signature="event|7|",
        p_value=1e-7,
        significant=True,
        alerted=True,
        ncd_score=0.7,
        explanation_text="`canary-a` wrote a line 151 bits longer to describe than usual.",
        details_text="CODE LENGTH",
        entity="host-1",
        score={"bits": 214.6, "template_id": 7, "families": []},
        glass_box={"state": "figures", "ratio_baseline": 6.8, "ratio_window": 4.0, "ratio_change": -0.41},
        decision={"alerted": True, "rule": "fdr", "suppressed_by": None},
        explanation={"heat_map": {"text": "a", "milli_bits": [1]}, "spans": []},
        versions={"engine": "1"},
        tags=("logs", "severity:high"),
        acknowledged_by=None,
        acknowledged_at=None,
        dismissed_by=None,
        dismissed_at=None,
        notes=None,
        created_at=at,
        updated_at=at,
        version=1,
    )
    return replace(made, **members)
