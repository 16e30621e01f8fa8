"""Tenants, keys, agents and signed requests for tests."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.signing import SignedMessage
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import key_format, keys, signatures, tenants
from guardhouse.identity.agent_keys.store import Modes
from guardhouse.identity.keys import NewKey
from guardhouse.identity.store import ApiKey, Tenant

URL = "http://127.0.0.1:8000/api/v1/events"
BODY = b'{"events":[{"pid":1234,"syscall":"execve"}]}'
COVERED = ("@method", "@authority", "@path", "content-type", "content-digest", "idempotency-key")


@dataclass(frozen=True, slots=True)
class AgentSecret:
    """An agent's key as the agent holds it."""

    tenant: Tenant
    agent_id: str
    key_id: str
    secret: bytes


async def tenant(resources: Resources, slug: str = "acme") -> Tenant:
    """Make a tenant."""
    async with system_transaction(resources.database) as tx:
        return await tenants.create_tenant(tx, resources.clock, slug, slug.title())


async def key(resources: Resources, owner: Tenant, role: str = "admin", **wanted: Any) -> tuple[ApiKey, str]:
    """Make an API key of a tenant; return it as stored and its text."""
    async with system_transaction(resources.database) as tx:
        return await keys.create_key(
            tx,
            resources.clock,
            resources.peppers[0],
            owner,
            NewKey("test", role, **wanted),
            created_by="test",
        )


async def silent_key(resources: Resources, owner: Tenant, role: str = "admin") -> tuple[ApiKey, str]:
    """Make an API key of which neither the audit log nor a notice tells, for tests that count what is told."""
    text = key_format.new_key("live")
    made = ApiKey(
        id=new_id(),
        tenant=owner,
        name="test",
        role=role,
        scopes=keys.granted(role, None),
        project_id=None,
        env="live",
        state="active",
        prefix=text[: key_format.PREFIX_LENGTH],
        last4=text[-4:],
        expires_at=None,
        created_at=resources.clock.now(),
        created_by="test",
    )
    async with system_transaction(resources.database) as tx:
        await keys.add_key(tx, made, text, resources.peppers[0])
    return made, text


def bearing(text: str) -> dict[str, str]:
    """Return the header that presents a key."""
    return {"X-API-Key": text}


async def agent_key(
    resources: Resources, owner: Tenant, agent_id: str = "web-1", *, legacy: bool = False
) -> AgentSecret:
    """Give an agent one more key."""
    secret = hashlib.sha256(uuid4().bytes).digest()
    async with system_transaction(resources.database) as tx:
        key_id = await signatures.add_agent_key(
            tx, resources, owner.id, agent_id, secret, Modes(legacy=legacy)
        )
    return AgentSecret(owner, agent_id, key_id, secret)


class _Key(HTTPSignatureKeyResolver):
    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def resolve_private_key(self, key_id: str) -> bytes:
        assert key_id
        return self._secret


def signed_request(  # noqa: PLR0913 - each part of a signature can be wrong on its own
    key_id: str,
    secret: bytes,
    *,
    now: datetime | None = None,
    nonce: str | None = None,
    url: str = URL,
    body: bytes = BODY,
    covered: Sequence[str] = COVERED,
    headers: Mapping[str, str] | None = None,
    tag: str = signatures.EVENTS_TAG,
    expires: datetime | None = None,
    method: str = "POST",
) -> SignedMessage:
    """Return a request signed by an independent implementation of RFC 9421."""
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    sent = {
        "content-type": "application/json",
        "content-digest": f"sha-256=:{digest}:",
        "idempotency-key": "batch-1",
    } | dict(headers or {})
    HTTPMessageSigner(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=_Key(secret)).sign(
        SignedMessage(method, url, sent, body),
        key_id=key_id,
        created=now or datetime.now(UTC),
        expires=expires,
        nonce=nonce or uuid4().hex,
        tag=tag,
        label="sig1",
        covered_component_ids=covered,
        use_existing_digest=True,
    )
    return SignedMessage(method, url, {name.lower(): value for name, value in sent.items()}, body)
