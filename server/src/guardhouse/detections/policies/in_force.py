"""Which policy judges a call: the one that it names, else its key's, else the tenant's ``default``.

A process remembers the policies of tenants. A change holds everywhere within a second; while the database is away
the last known ones stay in force, because a guard that stops judging guards nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from guardhouse.detections.calibrations import store as calibration_store
from guardhouse.detections.changed import CHANNEL
from guardhouse.detections.lists import store as list_store
from guardhouse.detections.packs import store as pack_store
from guardhouse.detections.policies import store
from guardhouse.detections.policies.default_policy import DEFAULT_NAME, ensure_default
from guardhouse.detections.policies.own import InForce, Known, gather, in_force
from guardhouse.detections.policy import CORE, Policy
from guardhouse.foundation import logs
from guardhouse.foundation.database import DatabaseAway, TenantKey, Tx
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

    by_id: Mapping[UUID, InForce]
    default: InForce
    until: datetime  # when an entry of a list expires


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
            self._stop = self._resources.wake.subscribe(CHANNEL, self._known.drop)
        _, known = self._known.get(tenant.id)
        if known is not None and self._resources.clock.now() < known.until:
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
            found = await _with_own(tx, tenant.id, self._resources.clock.now())
        default = next(policy for policy in found if policy.name == DEFAULT_NAME)
        known = _Known({policy.id: policy for policy in found}, default, min(p.own.until for p in found))
        self._known.put(tenant.id, known, generation)
        self._last.pop(tenant.id, None)
        if len(self._last) >= ENTRIES:
            self._last.pop(next(iter(self._last)))
        self._last[tenant.id] = known
        return known


async def _with_own(tx: Tx, tenant_id: UUID, now: datetime) -> list[InForce]:
    """Return the tenant's policies with the lists and packs that they name."""
    policies = [stored.policy for stored in await store.list_policies(tx, tenant_id)]
    names = {name for policy in policies for name in policy.rule_packs} - {CORE}
    packs = await pack_store.get_packs(tx, tenant_id, sorted(names)) if names else {}
    lists = {}
    if any(policy.lists for policy in policies):
        lists = {one.id: one for one in await list_store.list_lists(tx, tenant_id)}
    chosen = [policy.calibration for policy in policies if policy.calibration is not None]
    calibrations = await calibration_store.get_calibrations(tx, tenant_id, chosen) if chosen else {}
    known = Known(lists, packs, calibrations)
    return [in_force(policy, gather(policy, known, now)) for policy in policies]
