"""Writes anomalies, and tells of those that alert, in the transaction that moves their stream on."""

from collections.abc import Sequence

from prometheus_client import Counter

from guardhouse.anomalies.findings import store
from guardhouse.anomalies.findings.anomaly import Anomaly
from guardhouse.anomalies.stream import Stream
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.notices.anomaly_kinds import AnomalyDetected, StreamReady
from guardhouse.notices.publish import Draft, publish_all

DETECTED = Counter(
    "guardhouse_anomalies_detected_total", "Anomalies that alerted somebody.", ["stream_type", "severity"]
)
_MAX_SAID = 1000


async def write_anomalies(tx: Tx, tenant: TenantKey, stream: Stream, found: Sequence[Anomaly]) -> None:
    """Store anomalies of one stream and publish a notice of each that alerts."""
    if not found:
        return
    await store.add_anomalies(tx, tenant.no, found)
    alerting = [one for one in found if one.alerted]
    await publish_all(tx, [Draft(_told(stream, one), tenant.id, one.version) for one in alerting])
    for one in alerting:
        DETECTED.labels(one.stream_type, one.severity).inc()


async def tell_ready(tx: Tx, tenant: TenantKey, stream: Stream, events: int, outliers: int) -> None:
    """Publish that a stream is judged from now on."""
    said = StreamReady(
        stream_id=stream.id, stream=stream.slug, stream_type=stream.type, events=events, outliers=outliers
    )
    await publish_all(tx, [Draft(said, tenant.id, events)])


def _told(stream: Stream, one: Anomaly) -> AnomalyDetected:
    return AnomalyDetected(
        stream_id=stream.id,
        stream=stream.slug,
        stream_type=stream.type,
        anomaly_id=one.id,
        anomaly_kind=one.kind,
        band=one.severity,
        p_value=one.p_value,
        timestamp=rfc3339(one.timestamp),
        entity=one.entity,
        explanation=one.explanation_text[:_MAX_SAID],
    )
