"""Make canaries, and forget them."""

import base64
import secrets
from datetime import timedelta
from typing import Final
from uuid import UUID

from guardhouse.analysis.injection.canary import PREFIX
from guardhouse.audit.record import Entry, record
from guardhouse.detections.canaries import store
from guardhouse.detections.canaries.recognise import keyed
from guardhouse.detections.canaries.store import Canary
from guardhouse.detections.tenant_keys import canary_keys
from guardhouse.detections.token_digest import token_digest
from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Resources
from guardhouse.identity.caller import Caller

MOST: Final = 10_000
_BITS: Final = 100


async def plant(
    tx: Tx, resources: Resources, caller: Caller, label: str, expires_in: int | None
) -> tuple[Canary, str]:
    """Make a canary and return it with its token, which is not kept; ``expires_in`` is in seconds.

    Raises:
        Conflict: the tenant has as many as it may have.
    """
    if await store.count_canaries(tx, caller.tenant.id) >= MOST:
        raise Conflict(f"A tenant has at most {MOST:,} canaries; delete some of no use.", limit=MOST)
    token = new_token()
    key = next(iter(canary_keys(resources, caller.tenant.id).values()))
    now = resources.clock.now()
    until = None if expires_in is None else now + timedelta(seconds=expires_in)
    made = Canary(new_id(), label, keyed(key, token_digest(token)), now, caller.actor.name, until)
    await store.add_canary(tx, caller.tenant.id, made)
    after = {"label": label, "expires_at": None if until is None else rfc3339(until)}
    await record(tx, caller.actor, Entry("canary.create", f"canary:{made.id}", after=after))
    return made, token


async def forget(tx: Tx, caller: Caller, canary_id: UUID) -> None:
    """Delete a canary: its token is a string like any other from now on.

    Raises:
        NotFound: the tenant has none of this id.
    """
    gone = await store.delete_canary(tx, caller.tenant.id, canary_id)
    if gone is None:
        raise NotFound("There is no such canary.")
    await record(tx, caller.actor, Entry("canary.delete", f"canary:{gone.id}", before={"label": gone.label}))


def new_token() -> str:
    """Return a fresh token: 100 bits from the operating system in base32."""
    number = secrets.randbits(_BITS) << (-_BITS % 8)
    return PREFIX + base64.b32encode(number.to_bytes(13)).decode().lower()[:20]
