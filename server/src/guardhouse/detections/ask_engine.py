"""Ask the engine for a verdict, and say plainly when there is none."""

import asyncio
from importlib.resources import files
from pathlib import Path
from typing import Final

from guardhouse.detections.engine_pool import EngineBusyError, EngineFailedError, EnginePool, TooLateError
from guardhouse.detections.verdict import Ask, Verdict
from guardhouse.foundation.errors import Problem
from guardhouse.settings import Settings

_RETRY: Final = {"Retry-After": "1"}


class EngineBusy(Problem):
    """As many texts wait as may wait."""

    status, code, title = 503, "engine_busy", "The detection engine is busy"
    remediation = "Try again after the seconds in Retry-After, or send fewer texts at a time."


class EngineFailed(Problem):
    """No verdict could be made, and none is invented."""

    status, code, title = 503, "engine_failed", "The detection engine failed"
    remediation = "Try again; if the same text fails again, report it with the correlation id."


class DetectionTimeout(Problem):
    """The caller's own time was over before the text could be judged."""

    status, code, title = 503, "detection_timeout", "No verdict in time"
    remediation = "Try again, or allow more with `config.timeout_seconds`."


async def ask_engine(pool: EnginePool, ask: Ask, seconds: float) -> Verdict:
    """Judge a text within a time.

    Raises:
        EngineBusy, EngineFailed, DetectionTimeout: there is no verdict, and none is invented.
    """
    try:
        async with asyncio.timeout(seconds):
            return (await pool.judge([ask], seconds))[0]
    except EngineBusyError:
        raise EngineBusy("Too many texts wait for the engine.", headers=_RETRY) from None
    except EngineFailedError as error:
        raise EngineFailed(f"There is no verdict: {error}.", headers=_RETRY) from None
    except (TooLateError, TimeoutError):
        raise DetectionTimeout(f"No verdict within {seconds:g} seconds.", headers=_RETRY) from None


def make_engine(settings: Settings) -> EnginePool:
    """Return the engine of this installation; its processes start with the first text."""
    model = Path(str(files("guardhouse.analysis.injection") / "data" / "injection.ghm"))
    return EnginePool(model, settings.detect_processes, settings.data_dir)
