import base64
from pathlib import Path

import pytest

from guardhouse.agents import enroll_host
from guardhouse.agents.enroll_host import NewHost
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from server.tests.components.opened import opened
from server.tests.identity import make


async def test_the_secret_is_32_bytes_and_stored_sealed(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    async with tenant_transaction(resources.database, tenant.key) as tx:
        agent, issued = await enroll_host.enroll_host(tx, resources, tenant.key, NewHost("web-1"))
    assert (agent.id, agent.name, issued.key_id) == ("web-1", "web-1", "web-1:1")
    secret = base64.urlsafe_b64decode(issued.secret + "=")
    assert len(secret) == 32
    async with system_transaction(resources.database) as tx:
        row = await tx.fetch_row("SELECT * FROM agent_keys")
    assert row is not None
    assert secret not in row["sealed"]
    assert resources.master_key.open(row["sealed"], f"agent-key {tenant.id} web-1") == secret


@pytest.mark.parametrize(("switched_on", "modes"), [(False, ("rfc9421",)), (True, ("rfc9421", "legacy"))])
async def test_the_older_headers_are_off_unless_switched_on(
    database_url: str, tmp_path: Path, modes: tuple[str, ...], *, switched_on: bool
) -> None:
    async with opened(database_url, tmp_path, legacy_agent_signatures=switched_on) as resources:
        tenant = await make.tenant(resources)
        async with tenant_transaction(resources.database, tenant.key) as tx:
            agent, _ = await enroll_host.enroll_host(tx, resources, tenant.key, NewHost("web-1"))
            assert agent.signature_modes == modes
            assert await tx.fetch_value("SELECT legacy FROM agent_keys") is switched_on
            await enroll_host.change_host(tx, agent, {"signature_modes": ["legacy"]})
            assert await tx.fetch_value("SELECT legacy FROM agent_keys") is True


async def test_a_taken_id_and_an_absent_one(resources: Resources) -> None:
    tenant = await make.tenant(resources)
    async with tenant_transaction(resources.database, tenant.key) as tx:
        await enroll_host.enroll_host(tx, resources, tenant.key, NewHost("web-1"))
        with pytest.raises(Conflict):
            await enroll_host.enroll_host(tx, resources, tenant.key, NewHost("web-1"))
        with pytest.raises(NotFound):
            await enroll_host.get_host(tx, tenant.key, "WEB-1")
