"""An agent that keeps what it is given, for tests of what a middleware reports."""

from collections.abc import Callable
from typing import Any

from guard_agent.config import AgentConfig
from guard_agent.models import DynamicRules, SecurityEvent, SecurityMetric


class RecordingAgent:
    """Takes everything, sends nothing."""

    def __init__(self, **settings: Any) -> None:
        self.config = AgentConfig(api_key="k" * 20, endpoint="http://127.0.0.1:1", **settings)
        self.rules: DynamicRules | None = None
        self.events: list[SecurityEvent] = []
        self.metrics: list[SecurityMetric] = []
        self.life: list[str] = []
        self.clients: Callable[[], Any] | None = None

    def start(self) -> None:
        self.life.append("started")

    async def stop(self) -> None:
        self.life.append("stopped")

    def send_event(self, event: SecurityEvent) -> None:
        self.events.append(event)

    def send_metric(self, metric: dict[str, Any]) -> None:
        self.metrics.append(SecurityMetric.model_validate(metric))

    def report_clients(self, source: Callable[[], Any]) -> None:
        self.clients = source

    def types(self) -> list[str]:
        return [event.event_type for event in self.events]

    def measured(self) -> dict[tuple[str, str | None, str], float]:
        """Return the sum of each metric by kind, route and status."""
        sums: dict[tuple[str, str | None, str], float] = {}
        for metric in self.metrics:
            key = (metric.metric_type, metric.endpoint, metric.tags["status"])
            sums[key] = sums.get(key, 0.0) + metric.value
        return sums
