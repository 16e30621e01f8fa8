import pytest

from guardhouse.foundation.errors import Conflict, ValidationFailed
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import tenants
from server.tests.identity import make


async def test_tenants_are_found_and_listed(resources: Resources) -> None:
    made = [await make.tenant(resources, slug) for slug in ("b", "a", "0-1")]
    async with system_transaction(resources.database) as tx:
        assert await tenants.list_tenants(tx) == made
        assert await tenants.find_tenant(tx, "a") == made[1]
        assert await tenants.find_tenant(tx, "A") is None
    assert made[0].no < made[1].no < made[2].no
    assert made[0].key.id == made[0].id


async def test_a_taken_slug_is_a_conflict(resources: Resources) -> None:
    await make.tenant(resources)
    with pytest.raises(Conflict):
        await make.tenant(resources)


@pytest.mark.parametrize("slug", ["", "-a", "A", "a b", "a\n", "é", "a" * 64, "a_b", "a\x00"])
async def test_a_slug_is_lower_case_letters_digits_and_dashes(resources: Resources, slug: str) -> None:
    with pytest.raises(ValidationFailed):
        await make.tenant(resources, slug)
