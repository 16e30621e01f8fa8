"""One request as the guard sees it, in the application `scope["guard"]` or `environ["guard_agent.request"]`."""

from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Protocol

from guard_agent.models import SecurityEvent


class EventSink(Protocol):
    """What takes an event."""

    def send_event(self, event: Any) -> Any:
        """Capture one event."""
        ...


class RequestGuard:
    """Who asks for what, and a way to report something about it."""

    __slots__ = ("_sink", "address", "method", "path", "user_agent")

    def __init__(self, sink: EventSink, address: str, method: str, path: str, user_agent: str) -> None:
        self._sink = sink
        self.address = address
        self.method = method
        self.path = path
        self.user_agent = user_agent

    def emit(
        self,
        event_type: str,
        *,
        reason: str = "",
        action: str = "",
        status_code: int | None = None,
        pattern: str | None = None,
        **metadata: Any,
    ) -> None:
        """Report an event of this request; address, path, method and user agent are filled in."""
        fields = {
            "timestamp": datetime.now(UTC),
            "event_type": event_type,
            "ip_address": self.address,
            "user_agent": self.user_agent or None,
            "action_taken": action,
            "reason": reason,
            "endpoint": self.path,
            "method": self.method,
            "status_code": status_code,
            "pattern_matched": pattern,
            "metadata": metadata,
        }
        try:
            event = SecurityEvent(**fields)
        except ValueError:  # the agent makes of it what can be made, or counts it as invalid
            self._sink.send_event(fields)
        else:
            self._sink.send_event(event)


current_request: ContextVar[RequestGuard | None] = ContextVar("guard_agent_request", default=None)
