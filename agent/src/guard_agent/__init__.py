# This module belongs to guardhouse-agent.
"""The agents of Guardhouse: the library that an application uses, and the host agent `guard_agent.watch`.

Names are loaded when they are first asked for, because the host agent needs neither pydantic nor httpx.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guard_agent import clash as _clash
from guard_agent._version import API_LEVEL as API_LEVEL
from guard_agent._version import __version__ as __version__

if TYPE_CHECKING:
    from guard_agent.app_lifespan import emit as emit
    from guard_agent.app_lifespan import lifespan as lifespan
    from guard_agent.buffer import EventBuffer as EventBuffer
    from guard_agent.client import GuardAgentHandler as GuardAgentHandler
    from guard_agent.client import SyncGuardAgentHandler as SyncGuardAgentHandler
    from guard_agent.client import guard_agent as guard_agent
    from guard_agent.config import AgentConfig as AgentConfig
    from guard_agent.config import validate_config as validate_config
    from guard_agent.event_types import EventType as EventType
    from guard_agent.event_types import MetricType as MetricType
    from guard_agent.exceptions import BufferFullError as BufferFullError
    from guard_agent.exceptions import GuardAgentError as GuardAgentError
    from guard_agent.logging_utils import setup_agent_logging as setup_agent_logging
    from guard_agent.middleware import GuardMiddleware as GuardMiddleware
    from guard_agent.middleware import wrap as wrap
    from guard_agent.models import AgentStatus as AgentStatus
    from guard_agent.models import DynamicRules as DynamicRules
    from guard_agent.models import EventBatch as EventBatch
    from guard_agent.models import SecurityEvent as SecurityEvent
    from guard_agent.models import SecurityMetric as SecurityMetric
    from guard_agent.protocols import AgentHandlerProtocol as AgentHandlerProtocol
    from guard_agent.protocols import BufferProtocol as BufferProtocol
    from guard_agent.protocols import RedisHandlerProtocol as RedisHandlerProtocol
    from guard_agent.protocols import TransportProtocol as TransportProtocol
    from guard_agent.transport import HTTPTransport as HTTPTransport
    from guard_agent.transport import TransportStats as TransportStats
    from guard_agent.utils import CircuitBreaker as CircuitBreaker
    from guard_agent.utils import RateLimiter as RateLimiter
    from guard_agent.utils import generate_batch_id as generate_batch_id
    from guard_agent.utils import get_current_timestamp as get_current_timestamp
    from guard_agent.utils import hash_ip as hash_ip
    from guard_agent.utils import sanitize_headers as sanitize_headers
    from guard_agent.utils import truncate_payload as truncate_payload
    from guard_agent.wsgi import GuardWSGIMiddleware as GuardWSGIMiddleware

_HOMES = {
    "app_lifespan": ("emit", "lifespan"),
    "buffer": ("EventBuffer",),
    "client": ("GuardAgentHandler", "SyncGuardAgentHandler", "guard_agent"),
    "event_types": ("EventType", "MetricType"),
    "exceptions": ("BufferFullError", "GuardAgentError"),
    "logging_utils": ("setup_agent_logging",),
    "middleware": ("GuardMiddleware", "wrap"),
    "models": ("AgentConfig", "AgentStatus", "DynamicRules", "EventBatch", "SecurityEvent", "SecurityMetric"),
    "protocols": ("AgentHandlerProtocol", "BufferProtocol", "RedisHandlerProtocol", "TransportProtocol"),
    "transport": ("HTTPTransport", "TransportStats"),
    "utils": (
        "CircuitBreaker",
        "RateLimiter",
        "generate_batch_id",
        "get_current_timestamp",
        "hash_ip",
        "sanitize_headers",
        "truncate_payload",
        "validate_config",
    ),
    "wsgi": ("GuardWSGIMiddleware",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # noqa: PLE0604 - the names of the table, which __getattr__ loads
    "API_LEVEL",
    "__version__",
    *_HOME_OF,
]


def __getattr__(name: str) -> Any:
    """Load the module in which `name` lives and keep the name here."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return every public name, loaded or not."""
    return sorted({*globals(), *__all__})


# What another installed distribution that owns this package is called, None without one; also in `get_stats()`.
CLASH = _clash.check_folder(Path(__file__).parent, _clash.search_path())
