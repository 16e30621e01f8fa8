# This module belongs to guardhouse-agent.
"""The types of events and metrics that collectors and security libraries know. Any other text is allowed for events."""

from enum import StrEnum


class EventType(StrEnum):
    """The 39 event types of the released interface, and one of our own: `app_error`, an exception nobody handled."""

    IP_BANNED = "ip_banned"
    IP_UNBANNED = "ip_unbanned"
    IP_BLOCKED = "ip_blocked"
    IP_BAN_FAILED = "ip_ban_failed"
    RATE_LIMITED = "rate_limited"
    RATE_LIMIT_SCRIPT_RELOADED = "rate_limit_script_reloaded"
    SUSPICIOUS_REQUEST = "suspicious_request"
    CLOUD_BLOCKED = "cloud_blocked"
    COUNTRY_BLOCKED = "country_blocked"
    PENETRATION_ATTEMPT = "penetration_attempt"
    BEHAVIORAL_VIOLATION = "behavioral_violation"
    USER_AGENT_BLOCKED = "user_agent_blocked"
    CUSTOM_REQUEST_CHECK = "custom_request_check"
    DECORATOR_VIOLATION = "decorator_violation"
    DECODING_ERROR = "decoding_error"
    DETECTION_ENGINE_CALLBACK_ERROR = "detection_engine_callback_error"
    GEO_LOOKUP_FAILED = "geo_lookup_failed"
    HTTPS_ENFORCED = "https_enforced"
    PATTERN_ANOMALY_SLOW_EXECUTION = "pattern_anomaly_slow_execution"
    PATTERN_ANOMALY_TIMEOUT = "pattern_anomaly_timeout"
    PATTERN_ANOMALY_STATISTICAL_ANOMALY = "pattern_anomaly_statistical_anomaly"
    REDIS_CONNECTION = "redis_connection"
    REDIS_ERROR = "redis_error"
    DYNAMIC_RULE_APPLIED = "dynamic_rule_applied"
    DYNAMIC_RULE_UPDATED = "dynamic_rule_updated"
    PATH_EXCLUDED = "path_excluded"
    ROUTE_UNRESOLVED = "route_unresolved"
    PATTERN_DETECTED = "pattern_detected"
    PATTERN_ADDED = "pattern_added"
    PATTERN_REMOVED = "pattern_removed"
    ACCESS_DENIED = "access_denied"
    AUTHENTICATION_FAILED = "authentication_failed"
    CONTENT_FILTERED = "content_filtered"
    EMERGENCY_MODE_ACTIVATED = "emergency_mode_activated"
    EMERGENCY_MODE_BLOCK = "emergency_mode_block"
    DYNAMIC_RULE_VIOLATION = "dynamic_rule_violation"
    SECURITY_BYPASS = "security_bypass"
    SECURITY_HEADERS_APPLIED = "security_headers_applied"
    CSP_VIOLATION = "csp_violation"
    APP_ERROR = "app_error"


class MetricType(StrEnum):
    """The seven kinds of metrics."""

    REQUEST_COUNT = "request_count"
    RESPONSE_TIME = "response_time"
    ERROR_RATE = "error_rate"
    BANDWIDTH_USAGE = "bandwidth_usage"
    THREAT_LEVEL = "threat_level"
    BLOCK_RATE = "block_rate"
    CACHE_HIT_RATE = "cache_hit_rate"


KNOWN_EVENT_TYPES: list[str] = [kind.value for kind in EventType if kind is not EventType.APP_ERROR]
