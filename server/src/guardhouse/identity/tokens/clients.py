"""OAuth2 clients: programs of a tenant that prove themselves by a secret or by a key, and get short-lived tokens.

A client has at most two live secrets, so that one can be replaced while both work; they are stored as digests.
"""

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from guardhouse.foundation.clock import Clock
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Conflict, NotFound, ValidationFailed
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Pepper
from guardhouse.identity import jws
from guardhouse.identity import store as identity_store
from guardhouse.identity.keys import ScopeEscalation
from guardhouse.identity.roles import ROLES
from guardhouse.identity.store import Tenant
from guardhouse.identity.tokens import store
from guardhouse.identity.tokens.store import Client, ClientSecret

MAX_SECRETS: Final = 2
SECRET_PREFIX: Final = "ghcs_"  # noqa: S105 - what every client secret begins with, for scanners
SECRET_BYTES: Final = 32
_DUMMY: Final = secrets.token_bytes(32)


@dataclass(frozen=True, slots=True)
class NewClient:
    """What a new client should be. ``scopes=None`` takes all scopes of the role; with keys it gets no secret."""

    name: str
    role: str
    scopes: tuple[str, ...] | None = None
    token_seconds: int = 900
    jwks: dict[str, Any] | None = None
    jwks_uri: str | None = None


async def create_client(
    tx: Tx, clock: Clock, pepper: Pepper, tenant: Tenant, wanted: NewClient, *, created_by: str
) -> tuple[Client, str | None]:
    """Make a client and return it with its first secret, which is not kept (None: it proves itself by a key).

    Raises:
        ScopeEscalation: a scope the role does not have.
        ValidationFailed: ``jwks`` and ``jwks_uri`` together, or a key that cannot be used.
    """
    check_keys(wanted.jwks, wanted.jwks_uri)
    client = Client(
        id=new_id(),
        tenant=tenant,
        name=wanted.name,
        role=wanted.role,
        scopes=granted(wanted.role, wanted.scopes),
        token_seconds=wanted.token_seconds,
        state="active",
        jwks=wanted.jwks,
        jwks_uri=wanted.jwks_uri,
        version=1,
        created_at=clock.now(),
        created_by=created_by,
    )
    await store.add_client(tx, client)
    if client.signs:
        return client, None
    secret, text = await _add_secret(tx, clock, pepper, client)
    return replace(client, secrets=(secret,)), text


def granted(role: str, scopes: Sequence[str] | None) -> tuple[str, ...]:
    """Return the scopes a client of this role gets.

    Raises:
        ScopeEscalation: one the role does not have.
    """
    beyond = set(scopes or ()) - ROLES[role]
    if beyond:
        raise ScopeEscalation(f"The role {role} does not have {', '.join(sorted(beyond))}.")
    return tuple(sorted(ROLES[role] if scopes is None else set(scopes)))


def check_keys(jwks: dict[str, Any] | None, jwks_uri: str | None) -> None:
    """Insist that registered keys can be used.

    Raises:
        ValidationFailed: both forms at once, or a key that is private, weak or of another kind.
    """
    if jwks is not None and jwks_uri is not None:
        raise ValidationFailed(
            "Give the keys themselves or where they are, not both.",
            errors=[{"pointer": "/jwks_uri", "code": "conflict", "detail": "jwks is given too"}],
        )
    wrong = [] if jwks is None else jws.faults(jwks)
    if wrong:
        raise ValidationFailed(
            "The key set cannot be used.",
            errors=[{"pointer": "/jwks", "code": "unusable", "detail": fault} for fault in wrong],
        )


async def get_client(tx: Tx, tenant_id: UUID, client_id: UUID, *, lock: bool = False) -> Client:
    """Return one client of a tenant.

    Raises:
        NotFound: the tenant has no such client.
    """
    client = await store.get_client(tx, tenant_id, client_id, lock=lock)
    if client is None:
        raise NotFound("There is no such client.")
    return client


async def list_clients(
    tx: Tx, tenant_id: UUID, limit: int, after: tuple[datetime, UUID] | None = None
) -> list[Client]:
    """Return clients of a tenant, newest first."""
    return await store.list_clients(tx, tenant_id, limit, after)


async def change_client(tx: Tx, client: Client, changes: Mapping[str, Any]) -> Client:
    """Change name, scopes, token_seconds, state or keys; holds for living tokens within a second.

    Raises:
        ScopeEscalation: a scope the role does not have.
        ValidationFailed: unusable keys, or keys for a client that has secrets.
    """
    if not changes:
        return client
    changed = replace(client, **changes, version=client.version + 1)
    granted(changed.role, changed.scopes)
    check_keys(changed.jwks, changed.jwks_uri)
    if changed.signs != client.signs:
        raise ValidationFailed(
            "A client proves itself by secrets or by keys, and keeps to it: make another client.",
            errors=[{"pointer": "/jwks", "code": "fixed", "detail": "the way of proof cannot change"}],
        )
    stored = {name: list(value) if name == "scopes" else value for name, value in changes.items()}
    await store.change_client(tx, client, stored)
    await identity_store.notify_change(tx)
    return changed


async def delete_client(tx: Tx, client: Client) -> None:
    """Remove a client; its tokens end everywhere within a second."""
    await store.delete_client(tx, client.tenant.id, client.id)
    await identity_store.notify_change(tx)


async def add_secret(tx: Tx, clock: Clock, pepper: Pepper, client: Client) -> tuple[ClientSecret, str]:
    """Give a client its second secret and return it with its text, which is not kept. Lock the client before.

    Raises:
        Conflict: there are two already, or the client proves itself by a key.
    """
    if client.signs:
        raise Conflict("This client proves itself by a key; it has no secrets.")
    if len(client.secrets) >= MAX_SECRETS:
        raise Conflict(f"The client has {MAX_SECRETS} secrets; delete the old one first.")
    added = await _add_secret(tx, clock, pepper, client)
    await identity_store.notify_change(tx)
    return added


async def delete_secret(tx: Tx, client: Client, secret_id: UUID) -> None:
    """End one secret of a client; the last one may go too, which leaves a client that cannot enter.

    Raises:
        NotFound: the client has no such secret.
    """
    if all(secret.id != secret_id for secret in client.secrets):
        raise NotFound("The client has no such secret.")
    await store.delete_secret(tx, client, secret_id)
    await identity_store.notify_change(tx)


def knows_secret(peppers: Sequence[Pepper], client: Client | None, text: str) -> bool:
    """Tell whether a text is one of the client's secrets; takes as long for a client that does not exist."""
    by_kid = {pepper.kid: pepper for pepper in peppers}
    known = client.secrets if client is not None else ()
    stored = [(secret.digest, by_kid.get(secret.pepper_kid, peppers[0])) for secret in known]
    stored += [(_DUMMY, peppers[0])] * (MAX_SECRETS - len(stored))
    fits = [
        hmac.compare_digest(digest, _digest(pepper, text)) for digest, pepper in stored
    ]  # all are compared
    return any(fits)


async def _add_secret(tx: Tx, clock: Clock, pepper: Pepper, client: Client) -> tuple[ClientSecret, str]:
    text = SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    secret = ClientSecret(new_id(), _digest(pepper, text), pepper.kid, text[-4:], clock.now())
    await store.add_secret(tx, client, secret)
    return secret, text


def _digest(pepper: Pepper, text: str) -> bytes:
    return hmac.digest(pepper.value, b"oauth client secret\0" + text.encode(), "sha256")
