# This module belongs to guardhouse-agent.
"""Where the agent's own log lines go: the logger `guard_agent`, to the error output and, if wanted, to a file."""

import json
import logging
from pathlib import Path

LOGGER_NAME = "guard_agent"
_TEXT = "[%(name)s] %(asctime)s - %(levelname)s - %(message)s"


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object: `timestamp`, `level`, `logger`, `message`, after an error `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of one record."""
        line = {
            "timestamp": self.formatTime(record, self.datefmt),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def setup_agent_logging(
    log_file: str | None = None, log_format: str = "text", *, reconfigure: bool = True
) -> logging.Logger:
    """Return the agent's logger with handlers for the error output and `log_file`.

    `log_format` is `json` or anything else for text. Without `reconfigure`, handlers that are there stay as they are. A
    file that cannot be opened costs a warning, not the start of the application.
    """
    logger = logging.getLogger(LOGGER_NAME)
    if not reconfigure and logger_is_configured(logger):
        return logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    formatter = JsonFormatter() if log_format == "json" else logging.Formatter(_TEXT)
    _add_handler(logger, logging.StreamHandler(), formatter)
    if log_file:
        try:
            Path(log_file).parent.mkdir(parents=True, exist_ok=True)
            _add_handler(logger, logging.FileHandler(log_file, encoding="utf-8"), formatter)
        except OSError as error:
            logger.warning("Failed to create log file %s: %s", log_file, error)
    return logger


def logger_is_configured(candidate: logging.Logger) -> bool:
    """Tell whether a logger has a handler of its own."""
    return bool(candidate.handlers)


def _add_handler(logger: logging.Logger, handler: logging.Handler, formatter: logging.Formatter) -> None:
    handler.setFormatter(formatter)
    logger.addHandler(handler)
