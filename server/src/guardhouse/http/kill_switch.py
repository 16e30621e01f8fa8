"""Refuses what the platform's mode does not allow, before a caller is judged or a body read."""

import math
from fnmatch import fnmatchcase
from typing import Final

from fastapi import Request
from fastapi.routing import APIRoute

from guardhouse.foundation.errors import Unavailable
from guardhouse.foundation.request import resources_of
from guardhouse.http.requirement import required
from guardhouse.identity.kill_switch.mode import Mode, ModeCache

# What safe mode refuses, by operation id: whatever brings new runs, money, credentials or repeated deliveries.
# A key may still be rotated, suspended or revoked: that is what a bad day needs.
SAFE_MODE_REFUSES: Final = (
    "create_key",
    "create_*_key",
    "register_key*",
    "create_client*",
    "create_*_client*",
    "add_client_*",
    "create_run*",
    "submit_run*",
    "create_top_up*",
    "top_up*",
    "replay_*",
    "*_replay",
    "retry_*",
)
# What goes on whatever the mode.
OPEN_TAGS: Final = frozenset({"health", "problems"})
UNKNOWN_END_SECONDS: Final = 60


class SafeMode(Unavailable):
    """The platform is in safe mode: nothing new that costs or opens doors; reads and ingest go on."""

    status, code, title = 503, "safe_mode", "Safe mode"
    remediation = "Try again after Retry-After; the platform's admins have put new work on hold."


class HardStop(Unavailable):
    """The platform is stopped by its admins; only health, problem pages and its administration answer."""

    status, code, title = 503, "hard_stop", "Hard stop"
    remediation = "Try again after Retry-After; agents keep what they have to send."


class KillSwitch:
    """A dependency of every operation, and the first check of every strict route."""

    async def __call__(self, request: Request) -> None:
        """Look at the mode in force.

        Raises:
            SafeMode: this operation is on hold.
            HardStop: every operation is.
        """
        route = request.scope.get("route")
        if not isinstance(route, APIRoute) or OPEN_TAGS.intersection(route.tags):
            return
        cache: ModeCache = request.app.state.platform_mode
        mode, until = await cache.current()
        if mode is Mode.NORMAL:
            return
        now = resources_of(request).clock.now()
        wait = UNKNOWN_END_SECONDS if until is None else max(1, math.ceil((until - now).total_seconds()))
        if mode is Mode.HARD_STOP and not is_of_the_platform(route):
            raise HardStop("The platform is stopped.", retry_after_seconds=wait)
        if mode is Mode.SAFE_MODE and is_on_hold(route):
            raise SafeMode("This is on hold while the platform is in safe mode.", retry_after_seconds=wait)


def is_of_the_platform(route: APIRoute) -> bool:
    """Tell whether an operation is the platform's own administration."""
    asked = required(route.dependant)
    return route.path.startswith("/api/v1/admin/") and asked is not None and asked.scope == "platform"


def is_on_hold(route: APIRoute) -> bool:
    """Tell whether safe mode refuses an operation."""
    return "POST" in (route.methods or ()) and is_held_back(route.operation_id or route.name)


def is_held_back(operation_id: str) -> bool:
    """Tell whether a POST of this name is one that safe mode refuses."""
    return any(fnmatchcase(operation_id, pattern) for pattern in SAFE_MODE_REFUSES)
