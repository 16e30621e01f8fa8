# This module belongs to guardhouse-agent.
"""What the parts of an agent offer one another; each can be checked with `isinstance` at run time."""

from typing import Any, Protocol, runtime_checkable

from guard_agent.models import AgentStatus, DynamicRules, SecurityEvent, SecurityMetric


@runtime_checkable
class AgentHandlerProtocol(Protocol):
    """An agent as the application and its middleware see it."""

    async def initialize_redis(self, redis_handler: "RedisHandlerProtocol") -> None:
        """Take a Redis handler for events that must outlive the process."""
        ...

    async def send_event(self, event: Any) -> None:
        """Capture one event; delivery follows later."""
        ...

    async def send_metric(self, metric: Any) -> None:
        """Capture one metric."""
        ...

    async def start(self) -> None:
        """Begin to work."""
        ...

    async def stop(self) -> None:
        """Deliver what is left and end."""
        ...

    async def close(self) -> None:
        """Stop and let go of everything; the agent cannot be used again."""
        ...

    async def flush_buffer(self) -> None:
        """Send what waits now."""
        ...

    async def get_dynamic_rules(self) -> DynamicRules | None:
        """Return the rules in force, None while there are none."""
        ...

    async def get_status(self) -> AgentStatus:
        """Return how the agent fares."""
        ...

    async def health_check(self) -> bool:
        """Tell whether the agent can do its work."""
        ...


@runtime_checkable
class TransportProtocol(Protocol):
    """The way to the collector; True means it has taken the items."""

    async def send_events(self, events: list[SecurityEvent]) -> bool:
        """Deliver events."""
        ...

    async def send_metrics(self, metrics: list[SecurityMetric]) -> bool:
        """Deliver metrics."""
        ...

    async def fetch_dynamic_rules(self) -> DynamicRules | None:
        """Return the rules of the collector, None where it has none or gave none."""
        ...

    async def send_status(self, status: AgentStatus) -> bool:
        """Deliver a status."""
        ...


@runtime_checkable
class BufferProtocol(Protocol):
    """A place where events and metrics wait; keys name their copies in Redis."""

    async def add_event(self, event: SecurityEvent) -> None:
        """Add an event."""
        ...

    async def add_metric(self, metric: SecurityMetric) -> None:
        """Add a metric."""
        ...

    async def flush_events(self) -> list[SecurityEvent]:
        """Take out all events."""
        ...

    async def flush_metrics(self) -> list[SecurityMetric]:
        """Take out all metrics."""
        ...

    async def flush_events_with_keys(self) -> tuple[list[SecurityEvent], list[str]]:
        """Take out all events together with the keys of their copies, which stay until they are confirmed."""
        ...

    async def flush_metrics_with_keys(self) -> tuple[list[SecurityMetric], list[str]]:
        """Take out all metrics together with the keys of their copies, which stay until they are confirmed."""
        ...

    async def confirm_event_redis_keys(self, keys: list[str]) -> None:
        """Delete the copies of events that were delivered."""
        ...

    async def confirm_metric_redis_keys(self, keys: list[str]) -> None:
        """Delete the copies of metrics that were delivered."""
        ...

    async def requeue_events_in_memory(self, events: list[SecurityEvent], keys: list[str]) -> list[str]:
        """Put undelivered events back in front; return the keys of those that no longer fit."""
        ...

    async def requeue_metrics_in_memory(self, metrics: list[SecurityMetric], keys: list[str]) -> list[str]:
        """Put undelivered metrics back in front; return the keys of those that no longer fit."""
        ...

    async def get_buffer_size(self) -> int:
        """Return how many items wait."""
        ...

    async def clear_buffer(self) -> None:
        """Drop everything that waits."""
        ...


@runtime_checkable
class RedisHandlerProtocol(Protocol):
    """A Redis connection as the security library of the application holds it."""

    async def get_key(self, namespace: str, key: str) -> Any:
        """Return a value, None where there is none."""
        ...

    async def set_key(self, namespace: str, key: str, value: Any, ttl: int | None = None) -> bool | None:
        """Store a value for `ttl` seconds."""
        ...

    async def delete(self, namespace: str, key: str) -> int | None:
        """Remove a value."""
        ...

    async def keys(self, pattern: str) -> list[str] | None:
        """Return the names that match."""
        ...

    async def initialize(self) -> None:
        """Connect."""
        ...

    def get_connection(self) -> Any:
        """Return a context manager that yields the connection itself."""
        ...
