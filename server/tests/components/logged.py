"""Logs as a process writes them, for the length of a test."""

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal
from unittest import mock

import structlog

from guardhouse.foundation import logs
from guardhouse.settings import Settings


def plain() -> None:
    """Write events as one line each: the pretty form shows every local variable of a fault, which takes seconds."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.ExceptionRenderer(),
            structlog.processors.JSONRenderer(default=repr),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,  # modules keep their loggers, a test that reads logs changes what they do
    )


@contextmanager
def written(form: Literal["json", "console"] = "json") -> Iterator[io.StringIO]:
    """Configure logging as the server does and yield what goes to stderr; all is put back afterwards."""
    root = logging.getLogger()
    handlers, level, configure = root.handlers, root.level, structlog.configure

    def uncached(**named: Any) -> None:
        configure(**named | {"cache_logger_on_first_use": False})  # modules keep their loggers for ever

    caught = io.StringIO()
    try:
        with mock.patch.object(sys, "stderr", caught), mock.patch.object(structlog, "configure", uncached):
            logs.configure(Settings(log_format=form, log_level="debug"))
            yield caught
    finally:
        root.handlers = handlers
        root.setLevel(level)
        plain()
