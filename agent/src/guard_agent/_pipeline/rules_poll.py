"""Fetches the dynamic rules, keeps them for the time they are good for, and over a restart without a server.

From a Guardhouse they come by long polling with an ETag, so a change is here within a second; from any other server
each interval.
"""

import asyncio
import contextlib
import json
import os
import random
import time
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from guard_agent._pipeline.lane import Lane
from guard_agent._pipeline.parts import Parts
from guard_agent._pipeline.read_answer import (
    KeyRefused,
    NoSuchDoor,
    Reply,
    Transient,
    Wait,
    read_answer,
)
from guard_agent._pipeline.send import UnreachableError
from guard_agent.models import DynamicRules

_PATH: Final = "/api/v1/rules"
_WAIT_SECONDS: Final = 25
_FILE: Final = "rules.json"


class RulesPoll:
    """The rules lane of one instance."""

    def __init__(self, parts: Parts) -> None:
        self.lane = Lane("rules", random.Random())  # noqa: S311 - jitter, no secret
        self.fetched = 0
        self.failures = 0
        self.updated_at: datetime | None = None
        self._parts = parts
        self._rules: DynamicRules | None = None
        self._etag: str | None = None
        self._fresh_until = 0.0
        self._tries = 0

    @property
    def current(self) -> DynamicRules | None:
        """The rules in force, None without any and once they have expired. Any thread may ask."""
        rules = self._rules
        if rules is None or (rules.expires_at is not None and _aware(rules.expires_at) <= datetime.now(UTC)):
            return None
        return rules

    async def get(self) -> DynamicRules | None:
        """Return the rules in force, fetched anew where the kept ones are older than their `ttl`."""
        if time.monotonic() >= self._fresh_until and self.lane.wait(time.monotonic()) <= 0:
            await self._fetch(wait=False)
        return self.current

    async def run(self) -> None:
        """Fetch for ever."""
        self._recall()
        while True:
            wait = self.lane.wait(time.monotonic())
            if wait > 0:
                await asyncio.sleep(wait)
                continue
            begun = time.monotonic()
            held = self._parts.sender.native and self._etag is not None
            if not await self._fetch(wait=held):
                self._tries += 1
                await asyncio.sleep(self.lane.delay(self._tries, self._parts.config.backoff_factor))
                continue
            self._tries = 0
            if not (self._parts.sender.native and self._etag is not None):
                await asyncio.sleep(self._parts.config.dynamic_rule_interval)
            elif held and time.monotonic() - begun < 1.0:
                await asyncio.sleep(
                    0.5
                )  # changes in quick succession, or a server that does not hold requests

    async def _fetch(self, *, wait: bool) -> bool:
        parts = self._parts
        headers = {"If-None-Match": self._etag} if parts.sender.native and self._etag is not None else {}
        path = f"{_PATH}?wait={_WAIT_SECONDS}" if wait else _PATH
        now = time.monotonic()
        try:
            reply = await parts.sender.get(
                path,
                instance=parts.account.instance,
                headers=headers,
                timeout_seconds=float(parts.config.timeout) + (_WAIT_SECONDS if wait else 0),
            )
        except UnreachableError as error:
            self.lane.fail(now, str(error), slow_down=False)
            return self._failed(error)
        if reply.status == HTTPStatus.NOT_MODIFIED:
            self.lane.succeed(now)
            self._keep_fresh()
            return True
        if reply.status == HTTPStatus.OK:
            return self._take(reply, now)
        match read_answer(reply, 0):
            case KeyRefused(detail):
                self.lane.refuse_key(now, detail)
            case NoSuchDoor(detail, location):
                self.lane.close_door(now, detail, location)
            case Wait(seconds, detail):
                self.lane.hold(now, seconds, detail)
            case Transient(detail):
                self.lane.fail(now, detail, slow_down=False)
            case _:
                self.lane.fail(now, f"{reply.status} is no answer with rules", slow_down=False)
        return self._failed(ConnectionError(self.lane.trouble or str(reply.status)))

    def _take(self, reply: Reply, now: float) -> bool:
        try:
            document = json.loads(reply.content)
            rules = DynamicRules.model_validate(document) if document else None
        except (ValueError, RecursionError) as error:
            self.lane.fail(now, "its rules cannot be read", slow_down=False)
            return self._failed(error)
        self.lane.succeed(now)
        self.fetched += 1
        self._etag = reply.headers.get("etag")
        news = rules is not None and not _is_same(rules, self._rules)
        self._rules = rules
        self._keep_fresh()
        self.updated_at = datetime.now(UTC)
        if news or rules is None:
            self._remember(document)
        if news:
            self._tell(rules)
        return True

    def _keep_fresh(self) -> None:
        ttl = self._rules.ttl if self._rules is not None else 0
        self._fresh_until = time.monotonic() + ttl

    def _failed(self, error: BaseException) -> bool:
        self.failures += 1
        self._parts.errors.tell("rules", error)
        return False

    def _tell(self, rules: DynamicRules | None) -> None:
        hook = self._parts.config.on_rules
        if hook is None:
            return
        try:
            hook(rules)
        except Exception as error:  # noqa: BLE001 - the application's own code
            self._parts.errors.tell("rules", error, hook="on_rules")

    def _path(self) -> Path | None:
        spool = self._parts.keeper.spool
        return None if spool is None else spool.folder.parent / _FILE

    def _remember(self, document: Any) -> None:
        path = self._path()
        if path is None:
            return
        draft = path.with_name(f"{_FILE}.{os.getpid()}")
        with contextlib.suppress(OSError):
            draft.write_text(json.dumps({"etag": self._etag, "rules": document}), "utf-8")
            draft.chmod(0o600)
            draft.replace(path)

    def _recall(self) -> None:
        """Begin with the rules of an earlier process; a damaged file is none."""
        path = self._path()
        if path is None or self._rules is not None:
            return
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
            kept = json.loads(path.read_text("utf-8"))
            self._rules = DynamicRules.model_validate(kept["rules"]) if kept["rules"] else None
            if self.current is not None:
                self._tell(self._rules)


def _is_same(rules: DynamicRules, others: DynamicRules | None) -> bool:
    return others is not None and (rules.rule_id, rules.version) == (others.rule_id, others.version)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
