"""A host joins: the agent row and its first key, in one transaction; the secret is shown once."""

import base64
import os
import re
from dataclasses import dataclass, field
from typing import Any, Final

from guardhouse.agents import store
from guardhouse.agents.store import HostAgent
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import Conflict, NotFound
from guardhouse.foundation.resources import Resources
from guardhouse.identity import signatures
from guardhouse.identity.agent_keys.store import Modes

AGENT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
RFC9421: Final = "rfc9421"
LEGACY: Final = "legacy"


@dataclass(frozen=True, slots=True)
class NewHost:
    """What an enrolment says. ``signature_modes=None`` takes the installation's default."""

    id: str
    name: str | None = None
    hostname: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    signature_modes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A fresh key: its id ``<agent_id>:<n>`` and the 32 bytes as base64url."""

    key_id: str
    secret: str


async def enroll_host(
    tx: Tx, resources: Resources, tenant: TenantKey, wanted: NewHost
) -> tuple[HostAgent, IssuedKey]:
    """Make an agent and its first key.

    Raises:
        Conflict: the tenant has an agent with this id.
    """
    agent = await add_host(tx, resources, tenant, wanted)
    if agent is None:
        raise Conflict(f"There is an agent named {wanted.id} already.")
    return agent, await issue_key(tx, resources, agent)


async def add_host(tx: Tx, resources: Resources, tenant: TenantKey, wanted: NewHost) -> HostAgent | None:
    """Make an agent without a key (for senders that come with an API key); None when it exists."""
    modes = wanted.signature_modes
    if modes is None:
        modes = (RFC9421, LEGACY) if resources.settings.legacy_agent_signatures else (RFC9421,)
    return await store.add_agent(
        tx,
        tenant,
        {
            "agent_id": wanted.id,
            "name": wanted.name or wanted.hostname or wanted.id,
            "hostname": wanted.hostname,
            "metadata": wanted.metadata,
            "signature_modes": list(modes),
            "created_at": resources.clock.now(),
        },
    )


async def rotate_key(tx: Tx, resources: Resources, agent: HostAgent, grace_seconds: int) -> IssuedKey:
    """Make the next key of an agent; the ones before it end after the grace.

    Raises:
        NotFound: the agent was removed meanwhile.
    """
    if await store.lock_agent(tx, agent.tenant, agent.id) is None:  # two rotations would take one number
        raise NotFound("There is no such agent.")
    issued = await issue_key(tx, resources, agent)
    number = int(issued.key_id.rpartition(":")[2])
    await signatures.end_agent_keys(
        tx, resources.clock, agent.tenant.id, agent.id, grace_seconds=grace_seconds, below=number
    )
    return issued


async def issue_key(tx: Tx, resources: Resources, agent: HostAgent) -> IssuedKey:
    """Make one more key of an agent."""
    secret = os.urandom(signatures.AGENT_KEY_BYTES)
    key_id = await signatures.add_agent_key(tx, resources, agent.tenant.id, agent.id, secret, _modes(agent))
    return IssuedKey(key_id, base64.urlsafe_b64encode(secret).rstrip(b"=").decode())


async def change_host(tx: Tx, agent: HostAgent, changes: dict[str, Any]) -> HostAgent:
    """Change name, hostname, metadata or signature modes of an agent."""
    if not changes:
        return agent
    changed = await store.update_agent(tx, agent.no, changes)
    if "signature_modes" in changes:
        await signatures.allow_modes(tx, agent.tenant.id, agent.id, _modes(changed))
    return changed


def _modes(agent: HostAgent) -> Modes:
    return Modes(rfc9421=RFC9421 in agent.signature_modes, legacy=LEGACY in agent.signature_modes)


async def delete_host(tx: Tx, resources: Resources, agent: HostAgent) -> None:
    """Take an agent out: its keys end now, its events and scores stay, its id becomes free."""
    await store.update_agent(tx, agent.no, {"state": "deleted"})
    await signatures.end_agent_keys(tx, resources.clock, agent.tenant.id, agent.id)


async def get_host(tx: Tx, tenant: TenantKey, agent_id: str) -> HostAgent:
    """Return an agent of a tenant.

    Raises:
        NotFound: the tenant has no such agent.
    """
    agent = await store.find_agent(tx, tenant.id, agent_id)
    if agent is None:
        raise NotFound("There is no such agent.")
    return agent
