"""The class and weight of every known type of security event of an in-app agent.

A type that is not listed is ``other`` and weighs nothing; none is ever refused for being unknown. Changing the
table means a new ``VERSION``: scores made under different tables are not compared.
"""

from typing import Final, Literal

EventClass = Literal["attack", "policy", "config", "noise", "other"]

VERSION: Final = 1

_WEIGHTS_IN_THOUSANDTHS: Final[dict[EventClass, dict[str, int]]] = {
    "attack": {
        "penetration_attempt": 4000,
        "pattern_detected": 3000,
        "ip_banned": 2000,
        "behavioral_violation": 2000,
        "authentication_failed": 1000,
        "user_agent_blocked": 1000,
        "decorator_violation": 1000,
        "ip_ban_failed": 1000,
        "csp_violation": 200,
    },
    "policy": {
        "rate_limited": 500,
        "ip_blocked": 500,
        "access_denied": 500,
        "content_filtered": 500,
        "cloud_blocked": 200,
        "country_blocked": 200,
        "custom_request_check": 500,
        "dynamic_rule_violation": 500,
        "emergency_mode_block": 0,
        "decoding_error": 200,
    },
    "config": dict.fromkeys(
        (
            "pattern_added",
            "pattern_removed",
            "dynamic_rule_applied",
            "dynamic_rule_updated",
            "emergency_mode_activated",
            "ip_unbanned",
            "security_bypass",
            "path_excluded",
            "route_unresolved",
            "https_enforced",
            "security_headers_applied",
        ),
        0,
    ),
    "noise": dict.fromkeys(
        (
            "pattern_anomaly_statistical_anomaly",
            "pattern_anomaly_slow_execution",
            "pattern_anomaly_timeout",
            "detection_engine_callback_error",
            "geo_lookup_failed",
            "redis_connection",
            "redis_error",
            "rate_limit_script_reloaded",
            "suspicious_request",
        ),
        0,
    ),
}

CLASSES: Final[dict[str, EventClass]] = {
    event_type: name for name, weights in _WEIGHTS_IN_THOUSANDTHS.items() for event_type in weights
}
WEIGHTS_IN_THOUSANDTHS: Final[dict[str, int]] = {
    event_type: weight
    for weights in _WEIGHTS_IN_THOUSANDTHS.values()
    for event_type, weight in weights.items()
}
WEIGHING_TYPES: Final = frozenset(name for name, weight in WEIGHTS_IN_THOUSANDTHS.items() if weight)


def class_of(event_type: str) -> EventClass:
    """Return the class of an event type, ``other`` when it is not known."""
    return CLASSES.get(event_type, "other")
