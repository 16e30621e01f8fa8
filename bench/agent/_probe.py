"""What probes share; it runs in both environments, so it uses the standard library and names both agents have."""

import json
import sys
from datetime import UTC, datetime
from typing import Any

from guard_agent import AgentConfig, SecurityEvent, SecurityMetric, guard_agent


def given() -> dict[str, Any]:
    """Return what the bench asks of the probe."""
    asked: dict[str, Any] = json.loads(sys.argv[2])
    return asked


def tell(what: Any) -> None:
    """Print a result."""
    print(json.dumps(what), flush=True)


def agent(**changed: Any) -> Any:
    """Make the agent; settings that only one side has are ignored by the other."""
    asked = given()
    settings = {"endpoint": asked["url"], "api_key": asked["key"], "project_id": "bench", **changed}
    return guard_agent(AgentConfig(**settings))


def event(number: int, kind: str = "rate_limited") -> Any:
    """Return an event of about 600 bytes that carries its number."""
    shown = f"Query param 'q': Value matched pattern '<script[^>]*>' in request {number}"
    return SecurityEvent(
        timestamp=datetime.now(UTC),
        event_type=kind,
        ip_address=f"192.0.2.{number % 250}",
        user_agent="python-httpx/0.28.1",
        action_taken="request_blocked",
        reason=f"Penetration attempt detected: {shown}",
        endpoint="/search",
        method="GET",
        response_time=0.0747,
        metadata={"n": number, "trigger_info": shown},
    )


def metric(number: int) -> Any:
    """Return a metric that carries its number."""
    return SecurityMetric(
        timestamp=datetime.now(UTC), metric_type="request_count", value=1.0, tags={"n": str(number)}
    )
