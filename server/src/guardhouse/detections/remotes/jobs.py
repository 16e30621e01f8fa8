"""What remote engines say off the request's path: their breakers' changes, as notices of the platform's tenant."""

from typing import Final

from guardhouse.foundation.clock import microseconds
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import tenants
from guardhouse.notices.engine_kinds import BreakerClosed, BreakerOpened
from guardhouse.notices.publish import publish, take_turn

_MILLISECOND: Final = 1_000


async def tell(resources: Resources, data: BreakerOpened | BreakerClosed) -> None:
    """Publish a change; an installation without a platform tenant has nobody to tell."""
    async with system_transaction(resources.database) as tx:
        platform = await tenants.find_tenant(tx, tenants.PLATFORM)
        if platform is None:
            return
        await take_turn(tx, platform.id, data.subject)
        number = microseconds(resources.clock.now()) // _MILLISECOND  # a breaker has no row that counts
        await publish(tx, data, tenant_id=platform.id, subject_seq=number)
