"""What an API process keeps in memory between requests: caches, limiter, live clients, the last verdict on its parts.

All of it may be lost at any time: it is a copy of what the database holds, or a figure of the moment.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from guardhouse.agents.rules.publish import CHANNEL as RULES_CHANNEL
from guardhouse.agents.rules.waiting import RuleWaiters
from guardhouse.detections.desk import Desk
from guardhouse.detections.records import jobs as record_jobs
from guardhouse.foundation.resources import Resources
from guardhouse.http.health import Readiness
from guardhouse.identity.bearers import Bearers
from guardhouse.identity.failures import Failures
from guardhouse.identity.jobs import keep_last_seen, keep_last_use
from guardhouse.identity.key_cache import KeyCache
from guardhouse.identity.kill_switch.mode import ModeCache
from guardhouse.identity.kill_switch.store import CHANNEL
from guardhouse.identity.session_cache import SessionCache
from guardhouse.live.hub import Hub
from guardhouse.runs.submit import Submitter
from guardhouse.scores.wait import Backlog
from guardhouse.usage import jobs as usage_jobs
from guardhouse.usage.limits import Limiter
from guardhouse.usage.log import UsageLog


class Memory:
    """The parts, made once per application and alive as long as it runs."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.keys = KeyCache(lambda: resources.wake.connected)
        self.sessions = SessionCache(lambda: resources.wake.connected)
        self.bearers = Bearers(resources)
        self.mode = ModeCache(resources)
        self.limiter = Limiter(resources)
        self.usage_log = UsageLog()
        self.hub = Hub(resources)
        self.detection_desk = Desk(resources)
        self.rule_waiters = RuleWaiters(resources)
        self.run_submitter = Submitter(resources)

    def lay_out(self, app: FastAPI) -> None:
        """Put each part where routes and dependencies look for it."""
        state = app.state
        state.resources = self.resources
        state.key_cache, state.session_cache, state.bearers = self.keys, self.sessions, self.bearers
        state.platform_mode, state.failures = self.mode, Failures()
        state.limiter, state.admit = self.limiter, self.limiter.admit
        state.hub, state.backlog = self.hub, Backlog(self.resources)
        state.detection_desk = self.detection_desk
        state.rule_waiters = self.rule_waiters
        state.run_submitter = self.run_submitter
        state.readiness = Readiness(self.resources)
        state.parameter_names = {}

    @asynccontextmanager
    async def running(self, _app: FastAPI) -> AsyncIterator[None]:
        """Keep caches fresh and write what was noted, for the length of the block (the application's lifespan)."""
        wake = self.resources.wake
        stops = [wake.subscribe("identity", cache.drop) for cache in (self.keys, self.sessions, self.bearers)]
        stops.append(wake.subscribe(CHANNEL, self.mode.drop))
        stops.append(wake.subscribe(RULES_CHANNEL, self.rule_waiters.hear))
        noting = [
            asyncio.create_task(keep_last_use(self.resources, self.keys)),
            asyncio.create_task(keep_last_seen(self.resources, self.sessions)),
        ]
        try:
            async with (
                usage_jobs.keep(self.resources, self.limiter, self.usage_log),
                record_jobs.keep(self.resources, self.detection_desk.records),
            ):
                yield
        finally:
            for task in noting:
                task.cancel()
            await asyncio.gather(*noting, return_exceptions=True)
            for stop in stops:
                stop()
            await self.detection_desk.close()
            await self.run_submitter.close()
            await self.hub.close()
