"""Secrets of projects: made here or brought along, shown once, sealed under the master key, replaced without a gap.

After a rotation the previous one stays good until it is deleted or replaced in turn, so that applications can be
changed one by one; ``last_used_at`` says when none uses it any more.
"""

import base64
import binascii
import secrets as random
import string
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from guardhouse.agents.projects.secrets import store
from guardhouse.agents.projects.secrets.store import Kind, StoredSecret
from guardhouse.agents.projects.store import Project
from guardhouse.audit.record import Entry, record
from guardhouse.foundation import logs
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import Conflict, NotFound, ValidationFailed
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.seal import KEY_BYTES, CannotOpen, MasterKey
from guardhouse.identity.caller import Caller

SECRET_LENGTH: Final = 48
_BASE62: Final = string.ascii_letters + string.digits
NAMES: Final[dict[Kind, str]] = {"encryption": "encryption_key", "signing": "signing_secret"}
_log = logs.get(__name__)


async def issue_secret(
    tx: Tx, resources: Resources, caller: Caller, project: Project, kind: Kind, given: str | None
) -> tuple[StoredSecret, str]:
    """Store a secret of a project that the caller has locked, made now unless one is ``given``; returns its text too.

    Raises:
        Conflict: the project is archived, or the secret that is given is good already.
        ValidationFailed: the encryption key that is given is not 32 bytes in base64url.
    """
    if project.state != "active":
        raise Conflict("The project is archived.")
    text = _new(kind) if given is None else given
    secret = read_secret(kind, text)
    if secret in dict(await load_secrets(tx, resources.master_key, caller.tenant, project, kind)).values():
        raise Conflict("This secret is stored already.")
    secret_id = new_id()
    sealed = resources.master_key.seal(secret, _purpose(secret_id))
    stored = StoredSecret(
        secret_id, kind, "active", sealed, text[-4:], resources.clock.now(), caller.actor.name, None
    )
    await store.add_secret(tx, caller.tenant.id, project.id, stored)
    after = {"project_id": project.id, "last4": stored.last4, "brought_along": given is not None}
    await record(tx, caller.actor, Entry(f"{NAMES[kind]}.create", f"{NAMES[kind]}:{stored.id}", after=after))
    return stored, text


async def delete_secret(tx: Tx, caller: Caller, project: Project, kind: Kind, secret_id: UUID) -> None:
    """End a secret now.

    Raises:
        NotFound: the project has no such secret.
    """
    gone = await store.delete_secret(tx, caller.tenant.id, project.id, kind, secret_id)
    if gone is None:
        raise NotFound("There is no such secret.")
    before = {"project_id": project.id, "last4": gone.last4, "state": gone.state}
    await record(tx, caller.actor, Entry(f"{NAMES[kind]}.delete", f"{NAMES[kind]}:{gone.id}", before=before))


async def load_secrets(
    tx: Tx, master_key: MasterKey, tenant: TenantKey, project: Project, kind: Kind
) -> Sequence[tuple[UUID, bytes]]:
    """Return the good secrets of a project with their ids, the active one first.

    One that was sealed under a master key that is not configured is left out: what needs it is refused or held, and
    comes again.
    """
    found = []
    for stored in await store.list_secrets(tx, tenant.id, project.id, kind):
        try:
            found.append((stored.id, open_secret(master_key, stored)))
        except CannotOpen:
            _log.error("project_secret_sealed_elsewhere", secret_id=str(stored.id))
    return found


async def note_use(tx: Tx, tenant_id: UUID, secret_id: UUID, now: datetime) -> None:
    """Note that a secret was used, once a minute at most."""
    await store.note_use(tx, tenant_id, secret_id, now)


def open_secret(master_key: MasterKey, stored: StoredSecret) -> bytes:
    """Return the bytes of a stored secret."""
    return master_key.open(stored.sealed, _purpose(stored.id))


def read_secret(kind: Kind, text: str) -> bytes:
    """Return the bytes that a secret's text stands for: of a key what it encodes, of a signing secret itself.

    Raises:
        ValidationFailed: the key is not 32 bytes in base64url.
    """
    if kind == "signing":
        return text.encode()
    plain = text.strip().rstrip("=")
    try:
        key = base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValidationFailed(
            "The key is not usable.",
            errors=[
                {"pointer": "/encryption_key", "code": "key", "detail": f"{KEY_BYTES} bytes in base64url"}
            ],
        )
    return key


def _new(kind: Kind) -> str:
    if kind == "encryption":
        return random.token_urlsafe(KEY_BYTES)
    return "".join(random.choice(_BASE62) for _ in range(SECRET_LENGTH))


def _purpose(secret_id: UUID) -> str:
    return f"project secret {secret_id}"
