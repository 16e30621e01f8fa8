"""What an answer tells of the limits, and what usage keeps of it."""

from collections.abc import Container, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Scope

from guardhouse.foundation.clock import Clock
from guardhouse.identity.caller import Caller
from guardhouse.usage.log import UsageLog
from guardhouse.usage.policy import Verdict
from guardhouse.usage.rate_fields import rate_fields


@dataclass(frozen=True, slots=True)
class AnswerUsage:
    """Made once; ``compat`` adds the X-RateLimit headers."""

    clock: Clock
    log: UsageLog
    compat: bool

    def fields(self, state: MutableMapping[str, Any], present: Container[bytes]) -> list[tuple[bytes, bytes]]:
        """Return the fields of a metered answer; a refusal by a limit brings its own."""
        verdict: Verdict | None = state.get("verdict")
        if verdict is None or b"ratelimit" in present:
            return []
        found = rate_fields(verdict, self.clock.now(), compat=self.compat)
        return [(name.lower().encode(), value.encode()) for name, value in found.items()]

    def note(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        """Keep the request of an identified caller; what nobody was identified for is in the metrics alone."""
        caller: Caller | None = scope["state"].get("caller")
        if caller is None:
            return
        endpoint = getattr(scope.get("route"), "path", "unmatched")
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        size = int(length) if length.isdigit() else 0
        request = (method, endpoint, status, size, round(seconds * 1_000_000))
        self.log.note(
            self.clock.now(), caller, request, scope["state"].get("judged")
        )  # set by detections.routes
