"""Somebody registers a key for itself: by an admin's credential, by an invitation, or, where that is open, by nothing.

An open registration makes a tenant of its own; the other two make a key with few scopes in a tenant that was there.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from guardhouse.audit.record import Actor
from guardhouse.foundation import peer
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound, Problem, ValidationFailed
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Resources
from guardhouse.identity import keys, tenants
from guardhouse.identity.caller import Caller
from guardhouse.identity.failures import network_of
from guardhouse.identity.keys import NewKey, ScopeEscalation
from guardhouse.identity.registration import invites, store
from guardhouse.identity.registration.invites import INVITED_ROLE, INVITED_SCOPES
from guardhouse.identity.store import ApiKey, Tenant

PER_HOUR: Final = 5
SELF_PER_MINUTE, SELF_PER_DAY = 60, 10_000
# The first key of a tenant that registered itself: its owner's, without the rights to make further keys.
OPEN_ROLE: Final = "admin"
OPEN_SCOPES: Final = ("detect:read", "detect:write", "keys:own", "usage:read", "webhooks:write")


class RegistrationClosed(Problem):
    """Keys are not given to whoever asks: by setting, nobody registers, or only with an invitation."""

    status, code, title = 403, "registration_closed", "Registration closed"
    remediation = "Ask an admin for an invitation code or a key; an admin's own key registers always."


class InviteInvalid(Problem):
    """The invitation code is unknown, used up, revoked or has ended."""

    status, code, title = 403, "invite_invalid", "Invitation invalid"
    remediation = "Ask for a new invitation code."


class TooManyRegistrations(Problem):
    """One address registered five keys within an hour."""

    status, code, title = 429, "too_many_registrations", "Too many registrations"
    remediation = "Try again after the seconds in Retry-After."


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for."""

    key: NewKey
    invite_code: str | None = None


async def register(tx: Tx, resources: Resources, caller: Caller | None, wish: Wish) -> tuple[ApiKey, str]:
    """Make the key in a system transaction and return it with its text, which is not kept.

    ``caller``, where there is one, may make keys.

    Raises:
        RegistrationClosed, InviteInvalid, TooManyRegistrations: not so.
        ScopeEscalation: the caller has not itself what a registered key has.
        ValidationFailed: more per minute or day than whoever is unknown may have.
    """
    if caller is not None:
        return await _by_caller(tx, resources, caller, wish)
    mode = resources.settings.registration
    if mode == "closed" or (mode == "invite" and wish.invite_code is None):
        raise RegistrationClosed("Nobody registers here without an admin or an invitation.")
    if wish.invite_code is not None:
        return await _by_invite(tx, resources, wish.key, wish.invite_code)
    return await _by_nothing(tx, resources, wish.key)


async def _by_caller(tx: Tx, resources: Resources, caller: Caller, wish: Wish) -> tuple[ApiKey, str]:
    tenant = await tenants.find_tenant(tx, caller.tenant_slug)
    if tenant is None:
        raise NotFound("There is no such tenant.")
    new = replace(
        wish.key, role=INVITED_ROLE, scopes=INVITED_SCOPES, env=caller.env, project_id=caller.project_id
    )
    if not caller.scopes.issuperset(INVITED_SCOPES):
        raise ScopeEscalation("The new key would have scopes that yours does not have.")
    return await _make(tx, resources, tenant, new, caller.actor)


async def _by_invite(tx: Tx, resources: Resources, wanted: NewKey, code: str) -> tuple[ApiKey, str]:
    _check_ceilings(wanted)
    invite = await store.use_invite(tx, invites.digest(code), resources.clock.now())
    tenant = None if invite is None else await tenants.find_by_id(tx, invite.tenant_id)
    if invite is None or tenant is None or tenant.state != "active":
        raise InviteInvalid("This invitation is not good, or not any more.")
    new = replace(wanted, role=invite.role, scopes=invite.scopes, env=tenant.env)
    return await _make(tx, resources, tenant, new, Actor(tenant.id, f"invite:{invite.id}"))


async def _by_nothing(tx: Tx, resources: Resources, wanted: NewKey) -> tuple[ApiKey, str]:
    _check_ceilings(wanted)
    now = resources.clock.now()
    await _admit(tx, network_of(peer.current().address), now)
    identifier = new_id()
    tenant = await tenants.create_tenant(tx, resources.clock, f"t-{identifier.hex[-12:]}", wanted.name)
    new = replace(wanted, role=OPEN_ROLE, scopes=OPEN_SCOPES)
    return await _make(tx, resources, tenant, new, Actor(tenant.id, "system:registration"))


async def _admit(tx: Tx, address: str, now: datetime) -> None:
    count, first = await store.count_registrations(tx, address, now - store.WINDOW)
    if count >= PER_HOUR and first is not None:
        wait = (first + store.WINDOW - now).total_seconds()
        raise TooManyRegistrations(
            f"{PER_HOUR} keys an hour are registered from one address.",
            headers={"Retry-After": str(max(1, math.ceil(wait)))},
        )
    await store.add_registration(tx, address, now)


async def _make(
    tx: Tx, resources: Resources, tenant: Tenant, new: NewKey, actor: Actor
) -> tuple[ApiKey, str]:
    return await keys.create_key(tx, resources.clock, resources.peppers[0], tenant, new, created_by=actor)


def _check_ceilings(wanted: NewKey) -> None:
    found = (
        ("rate_limit_per_minute", wanted.rate_limit_per_minute, SELF_PER_MINUTE),
        ("rate_limit_per_day", wanted.rate_limit_per_day, SELF_PER_DAY),
    )
    errors = [
        {"pointer": f"/{name}", "code": "too_high", "detail": f"at most {most} without an admin"}
        for name, asked, most in found
        if asked is not None and asked > most
    ]
    if errors:
        raise ValidationFailed("A key that registers itself may not ask for that much.", errors=errors)
