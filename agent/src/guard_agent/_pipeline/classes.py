"""Which class an item belongs to: what leaves first, and what gives way first when there is no room."""

from typing import Final

ATTACK: Final = "attack"
NORMAL: Final = "normal"
NOISE: Final = "noise"
METRIC: Final = "metric"

SENT_FIRST: Final = (ATTACK, NORMAL, NOISE, METRIC)
GIVES_WAY_FIRST: Final = (NOISE, METRIC, NORMAL, ATTACK)

EVENTS: Final = "events"
METRICS: Final = "metrics"
LANE_OF: Final = {ATTACK: EVENTS, NORMAL: EVENTS, NOISE: EVENTS, METRIC: METRICS}

_ATTACKS: Final = (
    "penetration_attempt",
    "pattern_detected",
    "ip_banned",
    "behavioral_violation",
    "authentication_failed",
    "user_agent_blocked",
    "decorator_violation",
    "ip_ban_failed",
    "csp_violation",
)
_NOISES: Final = (
    "pattern_anomaly_statistical_anomaly",
    "pattern_anomaly_slow_execution",
    "pattern_anomaly_timeout",
    "detection_engine_callback_error",
    "geo_lookup_failed",
    "redis_connection",
    "redis_error",
    "rate_limit_script_reloaded",
    "suspicious_request",
)
CLASS_OF: Final = dict.fromkeys(_ATTACKS, ATTACK) | dict.fromkeys(_NOISES, NOISE)
"""Class of each known event type; every other type is `NORMAL`. As the server's classes: attack and engine noise."""
