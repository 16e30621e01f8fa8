"""Who may call now: the limits of a key, of its tenant's plan, and of an address, all or none.

With Redis every process decides on the same windows. While Redis is away each falls back as the setting says, by
default to its share; what it then admits is charged to Redis when it comes back.
"""

import ipaddress
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Literal
from uuid import UUID

from prometheus_client import Counter, Gauge

from guardhouse.foundation import correlation, logs
from guardhouse.foundation.database import DatabaseAway
from guardhouse.foundation.request import system_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.identity.caller import Caller
from guardhouse.notices.usage_kinds import RateLimitReached, UsageThreshold
from guardhouse.usage import plans
from guardhouse.usage.local_windows import LocalWindows, Share
from guardhouse.usage.plans import UNLIMITED, Plan
from guardhouse.usage.policy import Policy, Verdict, day, minute
from guardhouse.usage.rate_fields import retry_after
from guardhouse.usage.redis_windows import FAULTS, RedisWindows
from guardhouse.usage.refusals import LimiterAway, refusal
from guardhouse.usage.tell import REFUSED_PAUSE, Word

PLAN_SECONDS: Final = 60.0
KNOWN_CALLERS: Final = 20_000
MOST_DEBTS: Final = 50_000
MOST_WORDS: Final = 1000
SLOW_ANSWERS: Final = 3  # in a row, before Redis counts as away
THRESHOLDS: Final[tuple[Literal[80, 95], ...]] = (80, 95)
FREE: Final = Verdict((), ())

DEGRADED: Final = Gauge("guardhouse_rate_limit_degraded", "1 while Redis is away and limits fall back.")
REFUSED: Final = Counter("guardhouse_rate_limited_total", "Calls refused by a limit.", ["policy"])
_log = logs.get(__name__)


class Limiter:
    """The limits of this process; made once, run by ``usage.jobs.keep``."""

    def __init__(self, resources: Resources, local: LocalWindows | None = None) -> None:
        self.resources = resources
        self.local = local or LocalWindows()
        url = resources.settings.redis_url
        self.shared = None if url is None else RedisWindows(url.get_secret_value())
        self.degraded = False
        self.words: list[Word] = []
        self.debts: dict[Policy, int] = {}
        self._slow = 0
        self._plans: dict[UUID, tuple[float, Plan]] = {}
        self._policies: dict[tuple[str, str], tuple[object, Plan, tuple[Policy, ...]]] = {}
        self._refused_at: dict[str, float] = {}

    @property
    def state(self) -> str:
        """How limits are kept now, in words."""
        if self.shared is None:
            return "in process" if self.local.share.processes == 1 else "in process, shares"
        return f"degraded: {self.resources.settings.rate_limit_fallback}" if self.degraded else "shared"

    async def admit(self, caller: Caller, cost: int = 1) -> Verdict:
        """Let an identified caller in.

        Raises:
            RateLimitExceeded, QuotaExceeded: over a limit; nothing was charged.
            BatchOverLimit: the cost is more than a limit allows at all.
            LimiterAway: Redis is away and the fallback is ``closed``.
        """
        policies = self._policies_of(caller, await self.plan_of(caller.tenant.id))
        if not policies:
            return FREE
        verdict = await self.take(policies, cost)
        if not verdict.admitted:
            self._say_refused(caller, verdict)
            raise self._refusal(verdict, cost)
        self._say_thresholds(caller, verdict, cost)
        return verdict

    async def look(self, caller: Caller) -> tuple[Plan, Verdict]:
        """Return a caller's plan and what is left of each of its limits, charging nothing."""
        plan = await self.plan_of(caller.tenant.id)
        policies = self._policies_of(caller, plan)
        return plan, await self.take(policies, 0) if policies else FREE

    async def admit_address(self, address: str | None) -> Verdict:
        """Let a call without a credential in.

        Raises:
            RateLimitExceeded: the address has made too many within a minute.
        """
        limit = self.resources.settings.anonymous_per_minute
        subject = f"address:{network_of(address)}"
        if not limit:
            return FREE
        verdict = await self.take([minute("address", subject, limit, subject)])
        if not verdict.admitted:
            raise self._refusal(verdict, 1)
        return verdict

    async def take(self, policies: Sequence[Policy], cost: int = 1) -> Verdict:
        """Decide on one call, on Redis or here.

        Raises:
            LimiterAway: Redis is away and the fallback is ``closed``.
        """
        if self.shared is None:
            return self.local.take(policies, cost)
        if not self.degraded:
            try:
                verdict = await self.shared.take(policies, cost)
            except FAULTS as error:
                self._failed(error)
            else:
                self._slow = 0
                if verdict.admitted:
                    self.local.note(policies, cost)
                return verdict
        return self._alone(policies, cost)

    async def mend(self) -> bool:
        """Try to reach Redis again and pay what was admitted without it; tells whether limits are shared now."""
        if self.shared is None:
            return False
        try:
            if self.degraded:
                await self.shared.connect()
            while self.debts:
                policy, cost = next(iter(self.debts.items()))
                await self.shared.take([policy], cost, forced=True)
                self.debts[policy] -= cost
                if not self.debts[policy]:
                    del self.debts[policy]
        except FAULTS:
            return False
        self._set_degraded(degraded=False)
        return True

    async def start(self) -> None:
        """Connect to Redis, where there is one."""
        if self.shared is not None:
            self._set_degraded(degraded=True)
            await self.mend()

    async def close(self) -> None:
        """End the connection to Redis."""
        if self.shared is not None:
            await self.shared.close()

    async def plan_of(self, tenant_id: UUID) -> Plan:
        """Return a tenant's plan, at most a minute old, or as old as it must be while the database is away."""
        known = self._plans.get(tenant_id)
        if known is not None and time.monotonic() - known[0] < PLAN_SECONDS:
            return known[1]
        try:
            async with system_transaction(self.resources) as tx:
                plan = await plans.plan_of(tx, tenant_id)
        except DatabaseAway:
            plan = UNLIMITED if known is None else known[1]
        self._plans[tenant_id] = (time.monotonic(), plan)
        return plan

    def drop_plans(self, _payload: str = "") -> None:
        """Ask for every plan again: one has changed somewhere. What is known stays good while the database is away."""
        self._plans = {tenant: (float("-inf"), plan) for tenant, (_, plan) in self._plans.items()}

    def set_share(self, share: Share) -> None:
        """Take another share, because processes came or went."""
        if share != self.local.share:
            self.local.share = share
            _log.info("rate_limit_share", processes=share.processes, place=share.place)

    def take_words(self) -> list[Word]:
        """Return and forget what there is to say."""
        words, self.words = self.words, []
        return words

    def _policies_of(self, caller: Caller, plan: Plan) -> tuple[Policy, ...]:
        name = (caller.kind, caller.credential_id)
        known = self._policies.get(name)
        if known is not None and known[0] == caller.limits and known[1] is plan:
            return known[2]
        if len(self._policies) >= KNOWN_CALLERS:
            self._policies.clear()
        subject, tenant, group = ":".join(name), f"tenant:{caller.tenant.id}", str(caller.tenant.id)
        wanted = [
            minute("minute", subject, caller.limits.minute, group) if caller.limits.minute else None,
            day("day", subject, caller.limits.day, group) if caller.limits.day else None,
            minute("tenant-minute", tenant, plan.per_minute, group) if plan.per_minute else None,
            day("tenant-day", tenant, plan.per_day, group) if plan.per_day else None,
        ]
        policies = tuple(policy for policy in wanted if policy is not None)
        self._policies[name] = (caller.limits, plan, policies)
        return policies

    def _refusal(self, verdict: Verdict, cost: int) -> Exception:
        for policy in verdict.violated:
            REFUSED.labels(policy.name).inc()
        settings = self.resources.settings
        return refusal(verdict, cost, self.resources.clock.now(), compat=settings.compat_headers)

    def _alone(self, policies: Sequence[Policy], cost: int) -> Verdict:
        fallback = self.resources.settings.rate_limit_fallback
        if fallback == "closed":
            raise LimiterAway("The shared rate limits cannot be asked.", retry_after_seconds=1)
        if fallback == "open":
            self.local.note(policies, cost)
            found = FREE
        else:
            found = self.local.take(policies, cost)
        if found.admitted:
            for policy in policies:
                if policy in self.debts or len(self.debts) < MOST_DEBTS:
                    self.debts[policy] = self.debts.get(policy, 0) + cost
        return Verdict(found.policies, found.readings, degraded=True)

    def _failed(self, error: BaseException) -> None:
        self._slow += 1
        if not isinstance(error, TimeoutError) or self._slow >= SLOW_ANSWERS:
            self._set_degraded(degraded=True)
            _log.warning("rate_limit_degraded", error=type(error).__name__)

    def _set_degraded(self, *, degraded: bool) -> None:
        self._slow = 0
        self.degraded = degraded
        DEGRADED.set(degraded)

    def _say_refused(self, caller: Caller, verdict: Verdict) -> None:
        for policy, reading in zip(verdict.policies, verdict.readings, strict=True):
            seconds = retry_after(verdict)
            if reading.wait and seconds is not None and self._is_new(policy.subject):
                self._say(
                    caller,
                    RateLimitReached(
                        limited=policy.subject,
                        policy=policy.name,
                        limit=policy.limit,
                        window_seconds=policy.seconds,
                        retry_after_seconds=seconds,
                    ),
                )

    def _is_new(self, subject: str) -> bool:
        """Tell whether nothing was said here about a subject within the pause; the database has the last word."""
        now = time.monotonic()
        if now - self._refused_at.get(subject, float("-inf")) < REFUSED_PAUSE / timedelta(seconds=1):
            return False
        if len(self._refused_at) >= KNOWN_CALLERS:
            self._refused_at.clear()
        self._refused_at[subject] = now
        return True

    def _say_thresholds(self, caller: Caller, verdict: Verdict, cost: int) -> None:
        for policy, reading in zip(verdict.policies, verdict.readings, strict=True):
            if not policy.is_quota:
                continue
            here = self.shared is None or self.degraded
            limit = self.local.share.of(policy.limit) if here else policy.limit
            used = limit - reading.left
            for percent in THRESHOLDS:
                if (used - cost) * 100 < limit * percent <= used * 100:
                    self._say(
                        caller,
                        UsageThreshold(
                            limited=policy.subject,
                            policy=policy.name,
                            limit=policy.limit,
                            window_seconds=policy.seconds,
                            percent=percent,
                            used=used if limit == policy.limit else used * self.local.share.processes,
                        ),
                    )

    def _say(self, caller: Caller, data: RateLimitReached | UsageThreshold) -> None:
        if len(self.words) < MOST_WORDS:
            now = self.resources.clock.now()
            self.words.append(Word(caller.tenant.id, data, now, correlation.current()))


def network_of(address: str | None) -> str:
    """Return what an address counts as: itself, or for IPv6 its /64, which is what one customer is given."""
    try:
        ip = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((int(ip) >> 64 << 64, 64)))
    return str(ip)
