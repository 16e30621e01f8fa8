"""What both middlewares can be told."""

import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from guard_agent.config import AgentConfig
from guard_agent.enforce import Geo

AUTH: Final = "auth"
LIMITS: Final = "limits"
ERRORS: Final = "errors"
METRICS: Final = "metrics"
EVERYTHING: Final = (AUTH, LIMITS, ERRORS, METRICS)


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of one middleware; see `MiddlewareFront`."""

    agent: Any
    config: AgentConfig | None
    enforce: bool
    capture: Collection[str] | None
    trusted_proxies: Iterable[str]
    exclude: Collection[str]
    route_of: Callable[[Any], str | None] | None
    client_ip: Callable[[Any], str | None] | None
    count_clients: bool
    slow_ms: float | None
    geo: Geo | None

    def captured(self) -> frozenset[str]:
        """Return what to report: by default everything, and nothing where fastapi-guard reports the same already.

        Raises:
            ValueError: `capture` names something unknown.
        """
        if self.capture is None:
            return frozenset() if _fastapi_guard_is_here() else frozenset(EVERYTHING)
        if unknown := sorted(set(self.capture) - set(EVERYTHING)):
            raise ValueError(f"capture knows {', '.join(EVERYTHING)}; not: {', '.join(unknown)}")
        return frozenset(self.capture)


def _fastapi_guard_is_here() -> bool:
    return hasattr(sys.modules.get("guard"), "SecurityConfig")
