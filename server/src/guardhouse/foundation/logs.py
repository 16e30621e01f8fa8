"""Structured logs: one event per line on stderr, a fixed snake_case name first, secrets masked last."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO, cast

import structlog

from guardhouse.foundation import correlation
from guardhouse.settings import Settings

_SECRET_NAMES: Final = re.compile(
    r"(?i)^(authorization|proxy-authorization|cookie|set-cookie|x-api-key|api_?key|secret.*|.*_secret|password"
    r"|passwd|token|.*_token|signature|x-agent-signature|master_key|pepper.*|body)$"
)
_SECRET_TEXTS: Final = re.compile(
    r"gh_(?:live|test)_[0-9A-Za-z_]+|ghimport_[0-9A-Za-z_-]+|(?<=/imports/)[^/\s?\"'{]+"
    r"|(?i:bearer)\s+[A-Za-z0-9._~+/=-]{8,}|(?<=://)[^/\s:@\"']*:[^/\s@\"']+@"
)
MASK: Final = "[masked]"

Event = MutableMapping[str, Any]


def configure(settings: Settings) -> None:
    """Send every log of this process, ours and the libraries', through one chain. Call once per process."""
    pretty = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _add_correlation,
        structlog.processors.ExceptionRenderer(),
        mask,
    ]
    renderer = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if pretty
        else structlog.processors.JSONRenderer()
    )
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[*shared, renderer, mask_line],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Stderr())),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer, mask_line],
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.WARNING))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "alembic", "asyncio"):
        library = logging.getLogger(name)
        library.handlers, library.propagate = [], True


class _Stderr:
    """Whatever stderr is at the moment of writing: modules keep their loggers longer than a stream may live."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def get(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return the logger of a module; ``name`` appears as ``module``."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(module=name)
    return logger


def mask(_logger: Any, _method: str, event: Event) -> Event:
    """Hide values under secret names, and keys, bearers and URL passwords inside any text."""
    for name, value in event.items():
        event[name] = MASK if _SECRET_NAMES.match(name) else _mask_value(value)
    return event


def mask_line(_logger: Any, _method: str, line: Any) -> str:
    """Hide keys and bearers in a finished line: what was text only once it was rendered is caught here."""
    return _SECRET_TEXTS.sub(MASK, line)


def _mask_value(value: Any) -> Any:
    if isinstance(value, str):
        return _SECRET_TEXTS.sub(MASK, value)
    if isinstance(value, dict):
        return {k: MASK if _SECRET_NAMES.match(str(k)) else _mask_value(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mask_value(item) for item in value]
    return value


def _add_correlation(_logger: Any, _method: str, event: Event) -> Event:
    current = correlation.current()
    if current:
        event.setdefault("correlation_id", current)
    trace = correlation.trace_id()
    if trace:
        event.setdefault("trace_id", trace)
    return event
