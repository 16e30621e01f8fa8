"""Every audit log is verified once a day, in short steps; what holds is signed, a break is told."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from guardhouse.audit import check, signing_key, verify
from guardhouse.audit.signing_key import SigningKey
from guardhouse.foundation.jobs import JobContext, every
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.notices.audit_kinds import AuditChainBroken
from guardhouse.notices.publish import publish

DAY_SECONDS: Final = 86_400


@every(DAY_SECONDS, "identity.check_audit_logs")
async def check_audit_logs(context: JobContext) -> None:
    """Verify and sign the log of every tenant."""
    resources = context.resources
    async with system_transaction(resources.database) as tx:
        key = await signing_key.current_key(tx, resources)
        await signing_key.reseal_keys(tx, resources.master_key)
        keys = await signing_key.trusted_keys(tx, resources.master_key)
        tenants = await check.list_logs(tx)
    for tenant_id in tenants:
        await _check(resources, tenant_id, key, keys)


async def _check(
    resources: Resources, tenant_id: UUID, key: SigningKey, keys: Mapping[str, SigningKey]
) -> None:
    async with system_transaction(resources.database) as tx:
        walk = await verify.begin(tx, tenant_id)
    done = False
    while not done:
        async with system_transaction(resources.database) as tx:
            done = await verify.step(tx, walk)
    async with system_transaction(resources.database) as tx:
        await verify.finish(tx, walk, keys)
        is_news = await check.conclude(tx, walk, key, resources.clock)
        broken = walk.broken
        if is_news and broken is not None:
            said = AuditChainBroken(seq=broken.seq, fault=broken.fault, last_seq=walk.last)
            await publish(tx, said, tenant_id=tenant_id, subject_seq=max(walk.last, 1))
