"""Tells the application's `on_error` hook of errors, and the log, without ever flooding or failing either."""

import logging
import time
from collections.abc import Callable
from typing import Any, Final

_HOOK_SECONDS: Final = 10.0
_LOG_SECONDS: Final = 20.0
_REMEMBERED: Final = 1000
_logger = logging.getLogger("guard_agent")
Hook = Callable[[str, BaseException, dict[str, Any]], None]


class ErrorReporter:
    """Calls the hook at most once per stage and 10 s, and writes each line of the log at most once per 20 s."""

    def __init__(self, hook: Hook | None) -> None:
        self.hook = hook
        self._told: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}
        self._logged: dict[str, float] = {}

    def tell(self, stage: str, error: BaseException, **context: Any) -> None:
        """Tell the hook; what it raises is logged and goes no further."""
        now = time.monotonic()
        last = self._told.get(stage)
        if last is not None and now - last < _HOOK_SECONDS:
            self._suppressed[stage] = self._suppressed.get(stage, 0) + 1
            return
        self._told[stage] = now
        suppressed = self._suppressed.pop(stage, 0)
        if self.hook is None:
            return
        try:
            self.hook(stage, error, {**context, "suppressed": suppressed})
        except Exception:  # noqa: BLE001 - the application's own code
            self.log("The on_error hook raised", exc_info=True)

    def log(self, message: str, *, every: float = _LOG_SECONDS, exc_info: bool = False) -> None:
        """Write a warning unless the same one was written in the last `every` seconds."""
        now = time.monotonic()
        last = self._logged.get(message)
        if last is None or now - last >= every:
            if len(self._logged) > _REMEMBERED:
                self._logged.clear()
            self._logged[message] = now
            _logger.warning("%s", message, exc_info=exc_info)
