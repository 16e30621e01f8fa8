"""Projects: which one a delivery belongs to, and slugs for those that clients name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardhouse.agents.resolve_project import UnknownProject, _slugs, resolve_project
from guardhouse.audit.record import Actor
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import tenant_transaction
from server.tests.components.opened import add_tenant


@given(st.text(min_size=1, max_size=128))
def test_every_name_has_slugs_that_fit(name: str) -> None:
    for slug in _slugs(name):
        assert 1 <= len(slug) <= 63
        assert slug[0].isascii()
        assert slug[0].isalnum()
        assert all(c.isascii() and (c.isdigit() or c.islower() or c == "-") for c in slug)


async def test_a_name_is_an_external_id_when_it_is_no_slug_and_slugs_never_collide(
    resources: Resources,
) -> None:
    tenant, _ = await add_tenant(resources, "acme")
    async with tenant_transaction(resources.database, tenant) as tx:
        found = [
            await resolve_project(
                tx, resources.clock, tenant, bound=None, named=name, by=Actor(tenant.id, "key:1")
            )
            for name in ("my-shop", "My Shop", "my_shop", "MY.SHOP", "My Shop", "日本")
        ]
    slugs = [project.slug for project in found]
    assert slugs[0] == "my-shop"
    assert len(set(slugs)) == 5
    assert found[1].id == found[4].id
    assert slugs[5] == "project"


async def test_no_name_is_the_default_project(resources: Resources) -> None:
    tenant, _ = await add_tenant(resources, "acme")
    async with tenant_transaction(resources.database, tenant) as tx:
        for named in (None, "", "default"):
            project = await resolve_project(
                tx, resources.clock, tenant, bound=None, named=named, by=Actor(tenant.id, "key:1")
            )
            assert project.slug == "default"


async def test_a_project_of_another_tenant_is_never_found(resources: Resources) -> None:
    acme, _ = await add_tenant(resources, "acme")
    evil, _ = await add_tenant(resources, "evil")
    async with tenant_transaction(resources.database, acme) as tx:
        theirs = await resolve_project(
            tx, resources.clock, acme, bound=None, named="shop", by=Actor(acme.id, "key:1")
        )
    async with tenant_transaction(resources.database, evil) as tx:
        for name in (str(theirs.id), "shop"):
            own = await resolve_project(
                tx, resources.clock, evil, bound=None, named=name, by=Actor(evil.id, "key:1")
            )
            assert (own.id, own.no) != (theirs.id, theirs.no)
        with pytest.raises(UnknownProject):
            await resolve_project(
                tx, resources.clock, evil, bound=theirs.id, named=None, by=Actor(evil.id, "key:1")
            )
