"""Ask the engine for a verdict, and say plainly when there is none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from guardhouse.detections.call_task import CallsAsk, CheckedCalls
from guardhouse.detections.engine_pool import EngineBusyError, EnginePool, TooLateError
from guardhouse.detections.model_file import shipped_model
from guardhouse.detections.scan_task import ScanAsk, Scanned
from guardhouse.detections.verdict import Additions, Ask, Verdict
from guardhouse.foundation.errors import Problem
from guardhouse.settings import Settings

_RETRY: Final = {"Retry-After": "1"}


class EngineBusy(Problem):
    """As many texts wait as may wait."""

    status, code, title = 503, "engine_busy", "The detection engine is busy"
    remediation = "Try again after the seconds in Retry-After, or send fewer texts at a time."


async def ask_engine(
    pool: EnginePool, ask: Ask, seconds: float, additions: Additions | None = None
) -> Verdict:
    """Judge a text within a time; ``additions`` are what ``own`` of the ask names.

    Raises:
        EngineBusy: more texts wait than may wait.
        EngineFailedError: no engine process could judge it.
        TooLateError: the time was over first.
    """
    async with _within(seconds):
        return (await pool.judge([ask], seconds, additions))[0]


async def scan_text(pool: EnginePool, ask: ScanAsk, seconds: float) -> Scanned:
    """Scan an answer, or a piece of one, within a time; raises as :func:`ask_engine`."""
    async with _within(seconds):
        return await pool.scan(ask, seconds)


async def check_calls(pool: EnginePool, ask: CallsAsk, seconds: float) -> CheckedCalls:
    """Check the tool calls of a conversation within a time; raises as :func:`ask_engine`."""
    async with _within(seconds):
        return await pool.check(ask, seconds)


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except EngineBusyError:
        raise EngineBusy("Too many texts wait for the engine.", headers=_RETRY) from None
    except TimeoutError:
        raise TooLateError from None


def make_engine(settings: Settings) -> EnginePool:
    """Return the engine of this installation; its processes start with the first text."""
    return EnginePool(shipped_model(), settings.detect_processes, settings.data_dir)
