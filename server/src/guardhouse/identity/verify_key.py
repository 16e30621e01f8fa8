"""A gateway in front asks whether a key is good, and what it may do; keys of other tenants are unknown to it."""

from dataclasses import dataclass
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.resources import Resources
from guardhouse.identity import key_format, keys
from guardhouse.identity.caller import judge
from guardhouse.identity.refusals import ApiKeyMalformed, ApiKeyUnknown
from guardhouse.identity.store import ApiKey


@dataclass(frozen=True, slots=True)
class Verified:
    """A key that was presented to somebody else. ``code`` is that of the refusal it would meet, None: it is good."""

    code: str | None
    key: ApiKey | None = None


async def verify_key(tx: Tx, resources: Resources, tenant_id: UUID, text: str) -> Verified:
    """Judge a key as a request that bears it would be judged, the address apart."""
    if not key_format.well_formed(text):
        return Verified(ApiKeyMalformed.code)
    key = await keys.find_key(tx, resources.peppers, text)
    if key is None or key.tenant.id != tenant_id:
        return Verified(ApiKeyUnknown.code)
    try:
        judge(key, resources.clock.now())
    except Problem as problem:
        return Verified(problem.code, key)
    return Verified(None, key)
