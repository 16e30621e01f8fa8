"""Tells the server how the agent fares: at the start, each interval, on change, and goodbye at the end."""

import asyncio
import contextlib
import json
import os
import random
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from guard_agent._pipeline.account import Account
from guard_agent._pipeline.health import assess
from guard_agent._pipeline.lane import Lane
from guard_agent._pipeline.ledger import LANES, REASONS
from guard_agent._pipeline.parts import Parts
from guard_agent._pipeline.read_answer import Delivered, KeyRefused, NoSuchDoor, Wait, read_answer
from guard_agent._pipeline.send import UnreachableError
from guard_agent.models import AgentStatus

_PATH: Final = "/api/v1/status"
_REPORT_SECONDS: Final = 30.0
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class StatusPush:
    """The status lane of one instance."""

    def __init__(self, parts: Parts) -> None:
        self.lane = Lane("status", random.Random())  # noqa: S311 - jitter, no secret
        self.last_ok: bool | None = None
        self.failures = 0
        self._parts = parts
        self._tries = 0
        self._changed = asyncio.Event()
        self._acknowledged: Any = None

    def reopen(self) -> None:
        """Begin anew on the running loop."""
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Tell the server soon: something about this agent is different. On the worker's loop."""
        self._changed.set()

    async def run(self) -> None:
        """Push for ever."""
        while True:
            wait = self.lane.wait(time.monotonic())
            if wait > 0:
                await asyncio.sleep(wait)
                continue
            if await self._push(self._parts.account, ended=False):
                self._tries = 0
                await self._rest()
            else:
                self._tries += 1
                await asyncio.sleep(self.lane.delay(self._tries, self._parts.config.backoff_factor))

    async def say_goodbye(self) -> None:
        """Push the last status of this instance, once."""
        if self._parts.sender.is_open:
            await self._push(self._parts.account, ended=True)

    async def close_account(self, account: Account) -> bool:
        """Push the last status of a dead instance; tells whether the server has it."""
        return await self._push(account, ended=True)

    def status(self) -> AgentStatus:
        """Return how the agent fares now."""
        parts = self._parts
        state, errors = assess(parts)
        events = parts.ledger.snapshot()["events"]
        return AgentStatus(
            timestamp=datetime.now(UTC),
            status=state,
            uptime=time.monotonic() - parts.started_at,
            events_sent=events["delivered"],
            events_failed=events["rejected"] + sum(events["dropped"][reason] for reason in REASONS),
            buffer_size=sum(parts.ledger.pending(lane) for lane in LANES),
            last_flush=parts.deliverer.last_delivery,
            errors=errors,
        )

    async def _rest(self) -> None:
        """Wait for the next push: the interval, or half a minute where the server reads ledgers and ours has news."""
        until = time.monotonic() + self._parts.config.status_interval
        while (left := until - time.monotonic()) > 0:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, _REPORT_SECONDS)):
                    await self._changed.wait()
            if self._parts.sender.native and self._parts.ledger.snapshot() != self._acknowledged:
                return

    async def _push(self, account: Account, *, ended: bool) -> bool:
        parts = self._parts
        number, ledger = account.report()
        body = self.status().model_dump(mode="json") | {
            "guardhouse": self._about(account, ended=ended) | {"seq": number, "ledger": ledger}
        }
        now = time.monotonic()
        try:
            reply = await parts.sender.post(
                _PATH,
                json.dumps(body, separators=(",", ":")).encode("ascii"),
                instance=account.instance,
                timeout_seconds=float(parts.config.timeout),
            )
        except UnreachableError as error:
            self.lane.fail(now, str(error), slow_down=False)
            return self._note(ok=False)
        match read_answer(reply, 0):
            case Delivered():
                self.lane.succeed(now)
                self._acknowledged = ledger if account is parts.account else self._acknowledged
                return self._note(ok=True)
            case KeyRefused(detail):
                self.lane.refuse_key(now, detail)
            case NoSuchDoor(detail, location):
                self.lane.close_door(now, detail, location)
            case Wait(seconds, detail):
                self.lane.hold(now, seconds, detail)
            case verdict:
                self.lane.fail(now, verdict.detail, slow_down=False)
        return self._note(ok=False)

    def _note(self, *, ok: bool) -> bool:
        self.last_ok = ok
        self.failures += not ok
        return ok

    def _about(self, account: Account, *, ended: bool) -> dict[str, Any]:
        parts, config = self._parts, self._parts.config
        own = account is parts.account
        return {
            "instance_id": account.instance,
            "pid": os.getpid() if own else None,
            "boot_id": _boot_id(),
            "host": socket.gethostname(),
            "service": config.service,
            "environment": config.environment,
            "tags": config.tags,
            "durability": parts.keeper.durability,
            "lanes": {
                lane.name: {"breaker": lane.breaker.state, "waiting": len(lane), "trouble": lane.trouble}
                for lane in parts.lanes.values()
            },
            "clients": parts.clients() if own and parts.clients is not None else None,
            "ended": ended,
        }


def _boot_id() -> str | None:
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return None
