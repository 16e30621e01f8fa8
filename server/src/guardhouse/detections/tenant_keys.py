"""Keys of one tenant for one purpose, one per pepper: what is hashed under them is known again after a rotation."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from guardhouse.foundation.resources import Resources

_CANARY: Final = "canaries"
_PROMPT: Final = "protected texts"


def canary_keys(resources: Resources, tenant_id: UUID) -> Mapping[str, bytes]:
    """Return the keys of canaries by the name of their pepper, the one in use first."""
    return _keys(resources, tenant_id, _CANARY)


def prompt_keys(resources: Resources, tenant_id: UUID) -> Mapping[str, bytes]:
    """Return the keys of protected texts by the name of their pepper, the one in use first."""
    return _keys(resources, tenant_id, _PROMPT)


def _keys(resources: Resources, tenant_id: UUID, purpose: str) -> dict[str, bytes]:
    name = f"guardhouse {purpose} {tenant_id}".encode()
    return {pepper.kid: hmac.digest(pepper.value, name, hashlib.sha256) for pepper in resources.peppers}
