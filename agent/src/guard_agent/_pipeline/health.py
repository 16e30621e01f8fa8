"""How an agent fares: `healthy`, `degraded` or `failed`, with every reason in words."""

import time
from typing import Final, Literal

from guard_agent._pipeline.breaker import OPEN
from guard_agent._pipeline.classes import EVENTS
from guard_agent._pipeline.parts import Parts

Status = Literal["healthy", "degraded", "failed"]
_FULL: Final = 0.95
_NEARLY_FULL: Final = 0.9
_FAILED_SHARE: Final = 0.1
_FAILED_SECONDS: Final = 600.0


def is_healthy(parts: Parts) -> bool:
    """Tell whether the agent does its work: it runs, is let in, and has room."""
    return (
        parts.worker.alive
        and parts.lanes[EVENTS].breaker.state != OPEN
        and not any(lane.key_refused for lane in parts.lanes.values())
        and fullness(parts) < _FULL
    )


def assess(parts: Parts) -> tuple[Status, list[str]]:
    """Return the status and the reasons for it, worst first."""
    errors = []
    if not parts.worker.alive:
        errors.append("the agent does not run")
    for lane in parts.lanes.values():
        if lane.trouble is not None:
            errors.append(f"{lane.name}: {lane.trouble}")
        if lane.breaker.state == OPEN:
            errors.append(f"{lane.name}: too many failures in a row, sending rests")
    full = fullness(parts)
    if full >= _NEARLY_FULL:
        errors.append(f"{full:.0%} of the room is used")
    if parts.keeper.wants_disk and parts.keeper.durability != "disk":
        errors.append("the spool cannot be written: memory serves until it can")
    recent = parts.deliverer.recent
    failed = recent.count(False)
    if failed > _FAILED_SHARE * 100:
        errors.append(f"{failed} of the last {len(recent)} sends failed")
    if _has_failed(parts):
        return "failed", ["nothing could be delivered for 10 minutes, and only memory keeps it", *errors]
    return ("degraded" if errors else "healthy"), errors


def fullness(parts: Parts) -> float:
    """Return the used share of memory or disk, whichever is fuller."""
    keeper, config = parts.keeper, parts.config
    memory = (keeper.memory_bytes + parts.sealer.gathered_bytes) / config.max_memory_bytes
    return max(memory, keeper.disk_bytes / config.spool_max_bytes)


def _has_failed(parts: Parts) -> bool:
    waits = any(len(lane) for lane in parts.lanes.values())
    since = max(parts.started_at, parts.deliverer.delivered_at)
    return waits and parts.keeper.durability == "memory" and time.monotonic() - since >= _FAILED_SECONDS
