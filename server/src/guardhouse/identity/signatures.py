"""The one verifier of what agents sign, for every path an agent calls.

Every failure gives one answer and costs one key check, known agent or not, so that nothing leaks.
"""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from guardhouse.foundation import logs, signing
from guardhouse.foundation.clock import Clock, rfc3339
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.seal import CannotOpen, MasterKey
from guardhouse.foundation.signing import Claim, SignatureRefused, SignedMessage
from guardhouse.identity.agent_keys import store
from guardhouse.identity.agent_keys.store import AgentKey, Modes
from guardhouse.identity.store import Tenant

EVENTS_TAG: Final = "guardhouse-events"
AGENT_KEY_BYTES: Final = 32
_DUMMY_KEY: Final = os.urandom(AGENT_KEY_BYTES)
_log = logs.get(__name__)


class Unauthorized(Problem):
    """No valid signature. One body for every reason."""

    status, code, title = 401, "unauthorized", "Unauthorized"
    remediation = "Check the agent's key, its clock against server_time, and that every named part is signed."

    def __init__(self, clock: Clock) -> None:
        super().__init__(
            "The request is not signed by an agent that may speak here.",
            headers={"WWW-Authenticate": CHALLENGE},
            server_time=rfc3339(clock.now()),
        )


CHALLENGE: Final = 'Signature realm="guardhouse", tag="guardhouse-events", algs="hmac-sha256"'


@dataclass(frozen=True, slots=True)
class SignedBy:
    """The agent whose key signed, and the nonce to record in the request's own transaction (None: legacy)."""

    tenant: Tenant
    agent_id: str
    keyid: str
    nonce: bytes | None


async def verify_signature(
    tx: Tx, resources: Resources, message: SignedMessage, *, tag: str = EVENTS_TAG
) -> SignedBy:
    """Verify an RFC 9421 signature; agent ids are unique per tenant only, the key that fits names the tenant.

    Raises:
        Unauthorized: for every reason alike.
    """
    clock = resources.clock
    now = clock.now()
    try:
        claim = signing.read_claim(message, tag=tag, now=int(now.timestamp()))
        agent_id, n = _split_keyid(claim.keyid)
    except SignatureRefused as refusal:
        _log.info("signature_refused", reason=str(refusal))
        raise Unauthorized(clock) from None
    candidates = [k for k in await store.find_agent_keys(tx, agent_id, n) if _live(k, clock) and k.rfc9421]
    signer = _fit(candidates, resources.master_key, message, claim, tag)
    if signer is None:
        _log.info("signature_refused", reason="no key fits", keyid=claim.keyid)
        raise Unauthorized(clock)
    return SignedBy(signer.tenant, agent_id, claim.keyid, claim.nonce.encode())


async def verify_legacy(tx: Tx, resources: Resources, agent_id: str, given: str, body: bytes) -> SignedBy:
    """Verify the older pair of headers against the keys of agents that were switched to accept them.

    Raises:
        Unauthorized: for every reason alike.
    """
    clock, master_key = resources.clock, resources.master_key
    found: AgentKey | None = None
    for key in [k for k in await store.find_agent_keys(tx, agent_id, None) if _live(k, clock) and k.legacy]:
        if signing.verify_legacy(_secret(master_key, key), body, given) and found is None:
            found = key
    if found is None:
        signing.verify_legacy(_DUMMY_KEY, body, given)
        _log.info("signature_refused", reason="legacy", agent_id=agent_id)
        raise Unauthorized(clock)
    return SignedBy(found.tenant, agent_id, f"{agent_id}:{found.n}", None)


async def use_nonce(tx: Tx, resources: Resources, signed: SignedBy) -> None:
    """Spend the signature's nonce, in the transaction of what the request does.

    Raises:
        Unauthorized: the nonce was used before.
    """
    if signed.nonce is None:
        return
    expires = resources.clock.now() + timedelta(seconds=signing.NONCE_SECONDS)
    if not await store.use_nonce(tx, signed.tenant.id, signed.keyid, signed.nonce, expires):
        _log.info("signature_refused", reason="nonce used", keyid=signed.keyid)
        raise Unauthorized(resources.clock)


async def add_agent_key(
    tx: Tx,
    resources: Resources,
    tenant_id: UUID,
    agent_id: str,
    secret: bytes,
    modes: Modes,
) -> str:
    """Store a new HMAC key of an agent, sealed, and return its key id ``<agent_id>:<n>``."""
    sealed = resources.master_key.seal(secret, _purpose(tenant_id, agent_id))
    n = await store.add_agent_key(tx, tenant_id, agent_id, sealed, modes, resources.clock.now())
    return f"{agent_id}:{n}"


async def end_agent_keys(
    tx: Tx, clock: Clock, tenant_id: UUID, agent_id: str, *, grace_seconds: int = 0, below: int | None = None
) -> None:
    """Let an agent's keys end after a grace: all of them, or those numbered below ``below``."""
    await store.end_agent_keys(
        tx, tenant_id, agent_id, clock.now() + timedelta(seconds=grace_seconds), below=below
    )


async def allow_modes(tx: Tx, tenant_id: UUID, agent_id: str, modes: Modes) -> None:
    """Open or close each kind of signature for an agent."""
    await store.set_agent_modes(tx, tenant_id, agent_id, modes)


def _fit(
    keys: list[AgentKey], master_key: MasterKey, message: SignedMessage, claim: Claim, tag: str
) -> AgentKey | None:
    if not keys:
        signing.verify_mac(message, claim, _DUMMY_KEY, tag=tag)
        return None
    return next(
        (k for k in keys if signing.verify_mac(message, claim, _secret(master_key, k), tag=tag)), None
    )


def _live(key: AgentKey, clock: Clock) -> bool:
    return key.tenant.state == "active" and (key.valid_until is None or clock.now() < key.valid_until)


def _secret(master_key: MasterKey, key: AgentKey) -> bytes:
    try:
        return master_key.open(key.sealed, _purpose(key.tenant.id, key.agent_id))
    except CannotOpen:
        _log.error("agent_key_unreadable", agent_id=key.agent_id, n=key.n)
        return os.urandom(AGENT_KEY_BYTES)  # fits nothing; a fixed one could be signed with


def _purpose(tenant_id: UUID, agent_id: str) -> str:
    return f"agent-key {tenant_id} {agent_id}"


def _split_keyid(keyid: str) -> tuple[str, int]:
    agent_id, _, number = keyid.rpartition(":")
    if not agent_id or not number.isascii() or not number.isdigit() or len(number) > 9:  # noqa: PLR2004 - fits an integer column
        raise SignatureRefused("keyid")
    return agent_id, int(number)
