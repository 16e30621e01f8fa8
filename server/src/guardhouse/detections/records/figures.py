"""What detections tell Prometheus."""

from typing import Final

from prometheus_client import Counter, Histogram

DETECTIONS: Final = Counter("guardhouse_detections_total", "Texts judged.", ["verdict", "engine", "channel"])
SCORE: Final = Histogram(
    "guardhouse_detection_score",
    "Scores of texts.",
    ["channel"],
    buckets=(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1),
)
DURATION: Final = Histogram(
    "guardhouse_detection_duration_seconds",
    "Time from the request read to the verdict.",
    ["engine"],
    buckets=(0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 10),
)
DEGRADED: Final = Counter(
    "guardhouse_detection_degraded_total",
    "Texts that another engine than the one chosen judged, or none.",
    ["reason"],
)
SHADOW: Final = Counter(
    "guardhouse_detection_shadow_total", "Decisions of policies in the shadow.", ["would"]
)
NOT_RECORDED: Final = Counter(
    "guardhouse_detection_not_recorded_total", "Detections that were answered and could not be recorded."
)
NOT_RECORDED.inc(0)
