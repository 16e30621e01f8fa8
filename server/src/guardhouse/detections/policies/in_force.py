"""Which policy judges a call: the one that it names, else its key's, else the tenant's ``default``.

A process remembers the policies of tenants. A change holds everywhere within a second; while the database is away
the last known ones stay in force, because a guard that stops judging guards nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from guardhouse.detections.policies import store
from guardhouse.detections.policies.default_policy import DEFAULT_NAME, ensure_default
from guardhouse.detections.policy import Policy
from guardhouse.foundation import logs
from guardhouse.foundation.database import DatabaseAway, TenantKey
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.request import tenant_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.identity.caller import Caller
from guardhouse.identity.remembered import ENTRIES, Remembered

KNOWN_SECONDS: Final = 30.0
_log = logs.get(__name__)


class PolicyNotFound(Problem):
    """The tenant has no policy of this id; one of another tenant looks the same."""

    status, code, title = 422, "policy_not_found", "No such policy"
    remediation = (
        "Leave `policy` out for the key's own or the default policy, or use an id of GET /api/v1/policies."
    )

    def __init__(self) -> None:
        detail = "There is no such policy."
        super().__init__(detail, errors=[{"pointer": "/policy", "code": self.code, "detail": detail}])


@dataclass(frozen=True, slots=True)
class _Known:
    """The newest versions of a tenant's policies, and which of them is ``default``."""

    by_id: Mapping[UUID, Policy]
    default: Policy


class Policies:
    """The policies of tenants as this process knows them."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._known: Remembered[UUID, _Known] = Remembered(
            lambda: resources.wake.connected, seconds=KNOWN_SECONDS
        )
        self._last: dict[UUID, _Known] = {}  # for when the database is away
        self._stop: Callable[[], None] | None = None

    async def in_force(self, caller: Caller, asked: UUID | None = None) -> Policy:
        """Return the policy that judges a call; ``asked`` is the id that the call names, if it does.

        Raises:
            PolicyNotFound: the tenant has none of the id asked for.
            DatabaseAway: nothing is known of the tenant and cannot be now.
        """
        known = await self._of(caller.tenant)
        wanted = asked or caller.policy_id
        if wanted is None:
            return known.default
        found = known.by_id.get(wanted)
        if found is None:  # it may be younger than what is remembered
            found = (await self._read_now(caller.tenant)).by_id.get(wanted)
        if found is None:
            raise PolicyNotFound
        return found

    def close(self) -> None:
        """Listen no more."""
        if self._stop is not None:
            self._stop()

    async def _of(self, tenant: TenantKey) -> _Known:
        if self._stop is None:
            self._stop = self._resources.wake.subscribe(store.CHANNEL, self._known.drop)
        _, known = self._known.get(tenant.id)
        if known is not None:
            return known
        try:
            return await self._read_now(tenant)
        except DatabaseAway:
            last = self._last.get(tenant.id)
            if last is None:
                raise
            _log.warning("policies_unread", tenant=str(tenant.id))
            return last

    async def _read_now(self, tenant: TenantKey) -> _Known:
        generation = self._known.generation
        async with tenant_transaction(self._resources, tenant) as tx:
            await ensure_default(tx, tenant.id, self._resources.clock.now())
            found = [stored.policy for stored in await store.list_policies(tx, tenant.id)]
        by_id = {policy.id: policy for policy in found}
        known = _Known(by_id, next(policy for policy in found if policy.name == DEFAULT_NAME))
        self._known.put(tenant.id, known, generation)
        self._last.pop(tenant.id, None)
        if len(self._last) >= ENTRIES:
            self._last.pop(next(iter(self._last)))
        self._last[tenant.id] = known
        return known
