"""One-time links: whoever opens one within ten minutes gets a session; then it opens nothing any more."""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from guardhouse.audit.record import Actor, Entry, record
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Resources
from guardhouse.identity.people import store
from guardhouse.identity.people.store import SignInLink
from guardhouse.identity.refusals import TenantSuspended
from guardhouse.identity.store import Tenant

GOOD_FOR: Final = timedelta(minutes=10)
TOKEN_BYTES: Final = 32
PREFIX: Final = "ghl_"


class LinkExpired(Problem):
    """The link was opened already, is over ten minutes old, or was never made."""

    status, code, title = 410, "link_expired", "Sign-in link expired"
    remediation = (
        "Make a new one with `guardhouse keys login-link`; each opens one session within ten minutes."
    )


@dataclass(frozen=True, slots=True)
class MadeLink:
    """A fresh link: its token is in the URL and nowhere else."""

    link: SignInLink
    url: str


async def make_link(tx: Tx, resources: Resources, tenant: Tenant, role: str, *, created_by: str) -> MadeLink:
    """Make a link that signs in with a role, and record who made it."""
    token = PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(TOKEN_BYTES)).rstrip(b"=").decode()
    now = resources.clock.now()
    link = SignInLink(new_id(), tenant, role, created_by, now + GOOD_FOR)
    await store.add_link(tx, link, _digest(token), now)
    actor = Actor(tenant.id, f"system:{created_by}")
    await record(tx, actor, Entry("link.create", f"link:{link.id}", after={"role": role}))
    return MadeLink(link, f"{resources.settings.public_url}/auth/link?token={token}")


async def redeem(tx: Tx, resources: Resources, token: str) -> SignInLink:
    """Spend a link.

    Raises:
        LinkExpired: it opens nothing, whatever the reason.
        TenantSuspended: the tenant is not active.
    """
    link = await store.take_link(tx, _digest(token), resources.clock.now())
    if link is None:
        raise LinkExpired("The link opens no session.")
    if link.tenant.state != "active":
        raise TenantSuspended("The tenant of this link is not active.")
    return link


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
