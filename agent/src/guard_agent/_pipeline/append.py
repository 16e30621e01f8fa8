"""Appending under the overflow policies `raise` and `block`, where each call has to look for room first."""

import asyncio
import time
from typing import Any

from guard_agent._pipeline.awaitable import DONE, Captured, Pause
from guard_agent._pipeline.classes import CLASS_OF, LANE_OF, NORMAL
from guard_agent._pipeline.engine import Engine
from guard_agent._pipeline.inbox import Inbox
from guard_agent.exceptions import BufferFullError


def class_of(event: Any) -> str:
    """Return the class of an event, whatever object it is."""
    try:
        kind = event.get("event_type") if isinstance(event, dict) else event.event_type
    except Exception:  # noqa: BLE001 - an object of the application may raise anything
        return NORMAL
    return CLASS_OF.get(kind, NORMAL) if isinstance(kind, str) else NORMAL


def append(engine: Engine, kind: str, item: Any, *, on_loop: bool) -> Captured:
    """Put an item into the inbox as the policy says.

    Raises:
        BufferFullError: there is no room, and the policy is `raise`.
    """
    policy, inbox = engine.config.buffer_overflow_policy, engine.inbox
    if policy != "drop" and len(inbox) >= inbox.limit:
        if policy == "raise":
            engine.ledger.refuse(LANE_OF[kind], "overflow")
            engine.nudge()
            raise BufferFullError("the agent's buffer is full")
        return _append_blocking(engine, kind, item, on_loop=on_loop)
    inbox.queues[kind].append(item)
    engine.nudge()
    return DONE


def _append_blocking(engine: Engine, kind: str, item: Any, *, on_loop: bool) -> Captured:
    """Wait for room, at most `block_timeout`: here, or in the awaitable where a loop runs in this thread."""
    inbox, until = engine.inbox, time.monotonic() + engine.config.block_timeout
    engine.nudge()
    if on_loop:
        inbox.queues[kind].append(item)
        if len(inbox) > 2 * inbox.limit:  # nobody awaits the pauses
            inbox.make_room()
        return Pause(lambda: _pause(inbox, until))
    while len(inbox) >= inbox.limit and time.monotonic() < until:
        time.sleep(0.001)
    inbox.make_room(1)
    inbox.queues[kind].append(item)
    return DONE


async def _pause(inbox: Inbox, until: float) -> None:
    # The worker's thread makes the room, and knows no loop of ours.
    while len(inbox) > inbox.limit and time.monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    inbox.make_room()
