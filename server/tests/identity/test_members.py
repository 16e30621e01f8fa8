import asyncio
from uuid import UUID, uuid4

import httpx
import pytest

from guardhouse.audit.record import Actor
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.identity import members
from guardhouse.identity.members import LastAdmin, MemberChange, MemberSuspended
from guardhouse.identity.people.store import Member
from guardhouse.identity.store import Tenant
from server.tests.identity import make

ISSUER = "https://id.example"


async def signed_in(resources: Resources, tenant: Tenant, subject: str, role: str = "viewer") -> Member:
    async with tenant_transaction(resources.database, tenant.key) as tx:
        return await members.upsert_member(
            tx, tenant.key, ISSUER, subject, email=f"{subject}@id.example", name=subject.title(), role=role
        )


@pytest.fixture
async def acme(resources: Resources) -> Tenant:
    return await make.tenant(resources)


@pytest.fixture
async def admin(resources: Resources, acme: Tenant) -> dict[str, str]:
    return make.bearing((await make.key(resources, acme))[1])


async def said(resources: Resources) -> list[tuple[str, str]]:
    """Return what notices said of members: change and role."""
    async with system_transaction(resources.database) as tx:
        rows = await tx.fetch(
            "SELECT data->>'change' AS change, data->>'role' AS role FROM notices WHERE kind = 'member.changed'"
            " ORDER BY id"
        )
    return [(row["change"], row["role"]) for row in rows]


async def recorded(resources: Resources) -> list[str]:
    async with system_transaction(resources.database) as tx:
        rows = await tx.fetch("SELECT action FROM audit_log WHERE action LIKE 'member.%' ORDER BY seq")
    return [row["action"] for row in rows]


async def test_signing_in_makes_the_member_and_takes_the_issuers_role(
    resources: Resources, acme: Tenant
) -> None:
    first = await signed_in(resources, acme, "ada")
    same = await signed_in(resources, acme, "ada")
    assert (same.id, same.version) == (first.id, 1)
    risen = await signed_in(resources, acme, "ada", "analyst")
    assert (risen.id, risen.role, risen.version) == (first.id, "analyst", 2)
    assert await said(resources) == [("joined", "viewer"), ("updated", "analyst")]
    assert await recorded(resources) == ["member.create", "member.update"]


async def test_one_person_signing_in_many_times_at_once_is_one_member(
    resources: Resources, acme: Tenant
) -> None:
    found = await asyncio.gather(*(signed_in(resources, acme, "ada") for _ in range(8)))
    assert len({member.id for member in found}) == 1


async def test_the_same_subject_of_another_issuer_or_tenant_is_somebody_else(
    resources: Resources, acme: Tenant
) -> None:
    other = await make.tenant(resources, "other")
    ours, theirs = await signed_in(resources, acme, "ada"), await signed_in(resources, other, "ada")
    async with tenant_transaction(resources.database, acme.key) as tx:
        elsewhere = await members.upsert_member(
            tx, acme.key, "https://other.example", "ada", email=None, name=None, role="viewer"
        )
        assert len(await members.list_members(tx, acme.id, 10)) == 2
    assert len({ours.id, theirs.id, elsewhere.id}) == 3


async def test_the_life_of_a_member(
    client: httpx.AsyncClient, resources: Resources, acme: Tenant, admin: dict[str, str]
) -> None:
    member = await signed_in(resources, acme, "ada")
    url = f"/api/v1/members/{member.id}"
    got = await client.get(url, headers=admin)
    assert (got.json()["subject"], got.json()["state"], got.headers["etag"]) == ("ada", "active", '"1"')
    changed = await client.patch(url, json={"role": "analyst"}, headers=admin | {"If-Match": '"1"'})
    assert (changed.status_code, changed.json()["role"], changed.headers["etag"]) == (200, "analyst", '"2"')
    late = await client.patch(url, json={"role": "viewer"}, headers=admin | {"If-Match": '"1"'})
    assert (late.status_code, late.json()["current"]) == (412, '"2"')
    same = await client.patch(url, json={"role": "analyst"}, headers=admin)
    assert same.json()["version"] == 2
    await client.patch(url, json={"state": "suspended"}, headers=admin)
    with pytest.raises(MemberSuspended):
        await signed_in(resources, acme, "ada")
    listed = (await client.get("/api/v1/members", headers=admin)).json()["data"]
    assert [m["id"] for m in listed] == [str(member.id)]
    assert (await client.delete(url, headers=admin)).status_code == 204
    assert (await client.delete(url, headers=admin)).status_code == 404
    assert (await signed_in(resources, acme, "ada")).id != member.id
    assert [change for change, _ in await said(resources)] == [
        "joined", "updated", "updated", "removed", "joined",
    ]  # fmt: skip
    assert await recorded(resources) == [
        "member.create", "member.update", "member.update", "member.remove", "member.create",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"role": "platform"}, 422),
        ({"role": "agent"}, 422),
        ({"role": 5}, 422),
        ({"state": "gone"}, 422),
        ({"rôle": "viewer"}, 422),
        ({}, 200),
        ({"role": None}, 200),
        ({"role": "admin", "state": "suspended"}, 200),
    ],
)
async def test_what_may_change(
    client: httpx.AsyncClient,
    resources: Resources,
    acme: Tenant,
    admin: dict[str, str],
    body: dict[str, object],
    status: int,
) -> None:
    member = await signed_in(resources, acme, "ada")
    answer = await client.patch(f"/api/v1/members/{member.id}", json=body, headers=admin)
    assert answer.status_code == status, answer.text


async def test_nobody_gives_more_than_they_have(
    client: httpx.AsyncClient, resources: Resources, acme: Tenant
) -> None:
    member = await signed_in(resources, acme, "ada")
    _, text = await make.key(resources, acme, scopes=("members:write", "members:read"))
    answer = await client.patch(
        f"/api/v1/members/{member.id}", json={"role": "admin"}, headers=make.bearing(text)
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_escalation")


async def test_members_of_another_tenant_look_like_none(
    client: httpx.AsyncClient, resources: Resources, acme: Tenant
) -> None:
    member = await signed_in(resources, acme, "ada")
    _, text = await make.key(resources, await make.tenant(resources, "other"))
    for method, body in (("GET", None), ("PATCH", {"role": "viewer"}), ("DELETE", None)):
        for member_id in (member.id, uuid4()):
            answer = await client.request(
                method, f"/api/v1/members/{member_id}", json=body, headers=make.bearing(text)
            )
            assert (answer.status_code, answer.json()["detail"]) == (404, "There is no such member.")


async def change(resources: Resources, tenant: Tenant, member_id: UUID, wanted: MemberChange | None) -> None:
    """Change a member, or take them out, as somebody without a key."""
    async with tenant_transaction(resources.database, tenant.key) as tx:
        held = await members.hold_member(tx, tenant.id, member_id)
        actor = Actor(tenant.id, "user:test")
        if wanted is None:
            await members.remove_member(tx, actor, held, resources.clock.now())
        else:
            await members.change_member(tx, actor, held, wanted, resources.clock.now())


@pytest.mark.parametrize(
    "wanted",
    [MemberChange(role="viewer"), MemberChange(state="suspended"), None],
    ids=["role", "state", "out"],
)
async def test_a_tenant_keeps_an_admin(
    resources: Resources, acme: Tenant, wanted: MemberChange | None
) -> None:
    ada = await signed_in(resources, acme, "ada", "admin")
    with pytest.raises(LastAdmin):
        await change(resources, acme, ada.id, wanted)
    _, _ = await make.key(resources, acme, "analyst")
    with pytest.raises(LastAdmin):
        await change(resources, acme, ada.id, wanted)
    await make.key(resources, acme)
    await change(resources, acme, ada.id, wanted)


async def test_two_admins_do_not_demote_each_other_at_once(resources: Resources, acme: Tenant) -> None:
    both = [await signed_in(resources, acme, name, "admin") for name in ("ada", "eve")]
    done = await asyncio.gather(
        *(change(resources, acme, member.id, MemberChange(role="viewer")) for member in both),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, LastAdmin) for outcome in done) == 1, done
    assert done.count(None) == 1


async def test_pages_of_members(
    client: httpx.AsyncClient, resources: Resources, acme: Tenant, admin: dict[str, str]
) -> None:
    for name in ("ada", "eve", "joe"):
        await signed_in(resources, acme, name)
    names, query = [], "limit=2"
    while query:
        page = (await client.get(f"/api/v1/members?{query}", headers=admin)).json()
        names += [member["subject"] for member in page["data"]]
        cursor = page["pagination"]["cursor"]
        query = f"limit=2&cursor={cursor}" if cursor else ""
    assert names == ["joe", "eve", "ada"]
