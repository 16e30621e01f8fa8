"""Members: the people of a tenant, as an issuer knows them. Made and brought up to date at each sign-in.

Whoever may do something else than before is signed out, and a tenant keeps somebody who can do everything.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import NotFound, Problem
from guardhouse.foundation.ids import new_id
from guardhouse.identity import store as identity_store
from guardhouse.identity.people import store
from guardhouse.identity.people.store import Member, Which
from guardhouse.notices.member_kinds import MemberChanged
from guardhouse.notices.publish import publish, take_turn


class MemberSuspended(Problem):
    """This person may not sign in for now."""

    status, code, title = 403, "member_suspended", "Member suspended"
    remediation = "Ask an admin of the tenant to make the membership active again."


class LastAdmin(Problem):
    """The change would leave the tenant without anybody who can do everything."""

    status, code, title = 409, "last_admin", "Last admin"
    remediation = "Make another member an admin first, or make an API key with the role admin."


@dataclass(frozen=True, slots=True)
class MemberChange:
    """What to change of a member; None leaves it as it is."""

    role: str | None = None
    state: str | None = None


async def upsert_member(  # noqa: PLR0913 - what an issuer says of a person, each by its name
    tx: Tx, tenant: TenantKey, issuer: str, subject: str, *, email: str | None, name: str | None, role: str
) -> Member:
    """Make or update the member who signs in now; the role is the issuer's word at every sign-in.

    Raises:
        MemberSuspended: an admin has suspended the membership.
    """
    now = await store.now(tx)
    fresh = Member(new_id(), tenant.id, issuer, subject, email, name, role, "active", 1, now, now)
    found = None
    while found is None:
        if await store.add_member(tx, fresh):
            await _tell(tx, Actor(tenant.id, f"user:{fresh.id}"), "joined", None, fresh)
            return fresh
        found = await store.find_member(tx, tenant.id, issuer, subject)  # None: removed in between
    if found.state != "active":
        raise MemberSuspended("The membership is suspended.")
    changed = replace(found, email=email, name=name, role=role, last_sign_in_at=now)
    if changed.role == found.role:
        await store.save_member(tx, changed)
        return changed
    return await _save(tx, Actor(tenant.id, f"user:{found.id}"), found, changed)


async def get_member(tx: Tx, tenant_id: UUID, member_id: UUID) -> Member:
    """Return one member of a tenant.

    Raises:
        NotFound: the tenant has no such member.
    """
    member = await store.get_member(tx, tenant_id, member_id)
    if member is None:
        raise NotFound("There is no such member.")
    return member


async def hold_member(tx: Tx, tenant_id: UUID, member_id: UUID) -> Member:
    """Return one member, whom nobody else may change until the end of this transaction; its first statement.

    Raises:
        NotFound: the tenant has no such member.
    """
    await take_turn(tx, tenant_id, "members")  # one change at a time: two admins may not demote each other
    member = await store.get_member(tx, tenant_id, member_id, lock=True)
    if member is None:
        raise NotFound("There is no such member.")
    return member


async def list_members(
    tx: Tx, tenant_id: UUID, limit: int, after: tuple[datetime, UUID] | None = None
) -> list[Member]:
    """Return members of a tenant, newest first."""
    return await store.list_members(tx, tenant_id, limit, after)


async def change_member(tx: Tx, actor: Actor, held: Member, change: MemberChange, now: datetime) -> Member:
    """Change role or state of a held member; their sessions end, for they were made for what was before.

    Raises:
        LastAdmin: nobody else could do everything afterwards.
    """
    changed = replace(held, role=change.role or held.role, state=change.state or held.state)
    if changed == held:
        return held
    if (changed.role, changed.state) != ("admin", "active"):
        await _keep_an_admin(tx, held, now)
    return await _save(tx, actor, held, changed)


async def remove_member(tx: Tx, actor: Actor, held: Member, now: datetime) -> None:
    """Take a held member out, signed out everywhere. Signing in again makes a new member, if the issuer's map does.

    Raises:
        LastAdmin: nobody else could do everything afterwards.
    """
    await _keep_an_admin(tx, held, now)
    await store.delete_member(tx, held.tenant_id, held.id)
    await identity_store.notify_change(tx)
    await _tell(tx, actor, "removed", held, replace(held, version=held.version + 1))


async def _keep_an_admin(tx: Tx, held: Member, now: datetime) -> None:
    if (held.role, held.state) != ("admin", "active"):
        return
    others = set(await store.lock_admins(tx, held.tenant_id)) - {held.id}
    if not others and not await store.has_admin_key(tx, held.tenant_id, now):
        raise LastAdmin("This is the tenant's last admin, and no API key has that role.")


async def _save(tx: Tx, actor: Actor, before: Member, after: Member) -> Member:
    after = replace(after, version=before.version + 1)
    await store.save_member(tx, after)
    await store.end_sessions(tx, after.tenant_id, Which(member_id=after.id))
    await identity_store.notify_change(tx)
    await _tell(tx, actor, "updated", before, after)
    return after


_VERBS: Final = {"joined": "create", "updated": "update", "removed": "remove"}


async def _tell(
    tx: Tx,
    actor: Actor,
    change: Literal["joined", "updated", "removed"],
    before: Member | None,
    after: Member,
) -> None:
    said = MemberChanged(
        member_id=after.id, change=change, role=after.role, state=after.state, actor=actor.name
    )
    await publish(tx, said, tenant_id=after.tenant_id, subject_seq=after.version)
    await record(
        tx,
        actor,
        Entry(
            f"member.{_VERBS[change]}",
            f"member:{after.id}",
            before=None if before is None else _access(before),
            after=None if change == "removed" else _access(after),
        ),
    )


def _access(member: Member) -> dict[str, str]:
    """Return what the audit log keeps for ever: what the member may do, no name and no address."""
    return {"role": member.role, "state": member.state, "issuer": member.issuer}
