"""OAuth2 clients, their secrets, spent assertions, revoked tokens and signing keys: tables and statements."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from guardhouse.foundation.database import Tx, metadata
from guardhouse.identity.store import LABELLED_TENANT, Tenant, labelled_tenant, tenants

_INSTANT = DateTime(timezone=True)

oauth_signing_keys = Table(
    "oauth_signing_keys",
    metadata,
    Column("kid", Text, primary_key=True),
    Column("public_jwk", JSONB, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("use_from", _INSTANT, nullable=False),
)

oauth_clients = Table(
    "oauth_clients",
    metadata,
    Column("client_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("token_seconds", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("jwks", JSONB(none_as_null=True)),
    Column("jwks_uri", Text),
    Column("version", Integer, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("created_by", Text, nullable=False),
    CheckConstraint("token_seconds BETWEEN 60 AND 3600", name="token_seconds"),
    CheckConstraint("state IN ('active', 'suspended')", name="state"),
    Index("oauth_clients_tenant_id_created_at_idx", "tenant_id", "created_at", "client_id"),
)

oauth_client_secrets = Table(
    "oauth_client_secrets",
    metadata,
    Column("secret_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("client_id", Uuid, ForeignKey("oauth_clients.client_id", ondelete="CASCADE"), nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("pepper_kid", Text, nullable=False),
    Column("last4", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Index("oauth_client_secrets_tenant_id_client_id_idx", "tenant_id", "client_id", "created_at"),
)

spent_token_ids = Table(  # one-time tokens: assertions of clients, logout tokens of issuers
    "spent_token_ids",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("signer_id", Uuid, nullable=False),
    Column("jti", Text, nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
    PrimaryKeyConstraint("tenant_id", "signer_id", "jti"),
    Index("spent_token_ids_expires_at_idx", "expires_at"),
)

oauth_revocations = Table(
    "oauth_revocations",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("jti", Uuid, nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
    PrimaryKeyConstraint("tenant_id", "jti"),
    Index("oauth_revocations_expires_at_idx", "expires_at"),
)


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """One live secret of a client, as its digest."""

    id: UUID
    digest: bytes
    pepper_kid: str
    last4: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Client:
    """One OAuth2 client. It proves itself by a secret, or by a key of ``jwks`` or ``jwks_uri``, never by both."""

    id: UUID
    tenant: Tenant
    name: str
    role: str
    scopes: tuple[str, ...]
    token_seconds: int
    state: str
    jwks: dict[str, Any] | None
    jwks_uri: str | None
    version: int
    created_at: datetime
    created_by: str
    secrets: tuple[ClientSecret, ...] = ()

    @property
    def signs(self) -> bool:
        """Whether it proves itself by signed assertions."""
        return self.jwks is not None or self.jwks_uri is not None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One signing key at rest: the private half sealed under the master key."""

    kid: str
    public_jwk: dict[str, Any]
    sealed: bytes
    created_at: datetime
    use_from: datetime


_OWN: Final = tuple(column for column in oauth_clients.c if column.name != "tenant_id")
_CLIENTS: Final = select(
    *LABELLED_TENANT,
    *_OWN,
    select(
        func.coalesce(
            func.jsonb_agg(
                func.jsonb_build_array(
                    oauth_client_secrets.c.secret_id,
                    func.encode(oauth_client_secrets.c.digest, "hex"),
                    oauth_client_secrets.c.pepper_kid,
                    oauth_client_secrets.c.last4,
                    oauth_client_secrets.c.created_at,
                )
            ),
            func.jsonb_build_array(),
        )
    )
    .where(
        oauth_client_secrets.c.tenant_id == oauth_clients.c.tenant_id,
        oauth_client_secrets.c.client_id == oauth_clients.c.client_id,
    )
    .scalar_subquery()
    .label("secrets"),
).join_from(oauth_clients, tenants, oauth_clients.c.tenant_id == tenants.c.tenant_id)


def _client(row: Any) -> Client:
    secrets = [
        ClientSecret(UUID(name), bytes.fromhex(digest), kid, last4, datetime.fromisoformat(at))
        for name, digest, kid, last4, at in row.secrets
    ]
    return Client(
        id=row.client_id,
        tenant=labelled_tenant(row._mapping),  # noqa: SLF001 - SQLAlchemy documents it as public
        name=row.name,
        role=row.role,
        scopes=tuple(row.scopes),
        token_seconds=row.token_seconds,
        state=row.state,
        jwks=row.jwks,
        jwks_uri=row.jwks_uri,
        version=row.version,
        created_at=row.created_at,
        created_by=row.created_by,
        secrets=tuple(sorted(secrets, key=lambda secret: (secret.created_at, secret.id))),
    )


async def add_client(tx: Tx, client: Client) -> None:
    """Insert one client, without secrets."""
    row = {column.name: getattr(client, column.name, None) for column in oauth_clients.c}
    row |= {"client_id": client.id, "tenant_id": client.tenant.id, "scopes": list(client.scopes)}
    await tx.execute(insert(oauth_clients).values(row))


async def find_client(tx: Tx, client_id: UUID) -> Client | None:
    """Return the client with this id, of whatever tenant the transaction sees."""
    row = (await tx.execute(_CLIENTS.where(oauth_clients.c.client_id == client_id))).one_or_none()
    return None if row is None else _client(row)


async def get_client(tx: Tx, tenant_id: UUID, client_id: UUID, *, lock: bool = False) -> Client | None:
    """Return one client of a tenant; ``lock`` keeps others from changing it until the end of the transaction."""
    query = _CLIENTS.where(oauth_clients.c.tenant_id == tenant_id, oauth_clients.c.client_id == client_id)
    if lock:
        query = query.with_for_update(of=oauth_clients)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else _client(row)


async def list_clients(
    tx: Tx, tenant_id: UUID, limit: int, after: tuple[datetime, UUID] | None
) -> list[Client]:
    """Return clients of a tenant, newest first."""
    query = _CLIENTS.where(oauth_clients.c.tenant_id == tenant_id)
    if after is not None:
        query = query.where(
            func.row(oauth_clients.c.created_at, oauth_clients.c.client_id) < func.row(*after)
        )
    query = query.order_by(oauth_clients.c.created_at.desc(), oauth_clients.c.client_id.desc()).limit(limit)
    return [_client(row) for row in await tx.execute(query)]


async def change_client(tx: Tx, client: Client, changes: dict[str, Any]) -> None:
    """Write changed columns of a client and count its version up."""
    await tx.execute(
        update(oauth_clients)
        .where(oauth_clients.c.tenant_id == client.tenant.id, oauth_clients.c.client_id == client.id)
        .values(version=oauth_clients.c.version + 1, **changes)
    )


async def delete_client(tx: Tx, tenant_id: UUID, client_id: UUID) -> None:
    """Remove a client and its secrets."""
    await tx.execute(
        delete(oauth_clients).where(
            oauth_clients.c.tenant_id == tenant_id, oauth_clients.c.client_id == client_id
        )
    )


async def add_secret(tx: Tx, client: Client, secret: ClientSecret) -> None:
    """Insert one secret of a client."""
    await tx.execute(
        insert(oauth_client_secrets).values(
            secret_id=secret.id,
            tenant_id=client.tenant.id,
            client_id=client.id,
            digest=secret.digest,
            pepper_kid=secret.pepper_kid,
            last4=secret.last4,
            created_at=secret.created_at,
        )
    )


async def delete_secret(tx: Tx, client: Client, secret_id: UUID) -> None:
    """Remove one secret of a client."""
    await tx.execute(
        delete(oauth_client_secrets).where(
            oauth_client_secrets.c.tenant_id == client.tenant.id,
            oauth_client_secrets.c.client_id == client.id,
            oauth_client_secrets.c.secret_id == secret_id,
        )
    )


async def spend_token_id(tx: Tx, tenant_id: UUID, signer_id: UUID, jti: str, expires_at: datetime) -> bool:
    """Record a one-time token of a client or issuer; False when it was used before. Waits for a concurrent use."""
    return (
        await tx.fetch_value(
            "INSERT INTO spent_token_ids (tenant_id, signer_id, jti, expires_at) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT DO NOTHING RETURNING true",
            tenant_id,
            signer_id,
            jti,
            expires_at,
        )
        is True
    )


async def add_revocation(tx: Tx, tenant_id: UUID, jti: UUID, expires_at: datetime) -> bool:
    """Record that a token is revoked; False when it was already."""
    return (
        await tx.fetch_value(
            "INSERT INTO oauth_revocations (tenant_id, jti, expires_at) VALUES ($1, $2, $3)"
            " ON CONFLICT DO NOTHING RETURNING true",
            tenant_id,
            jti,
            expires_at,
        )
        is True
    )


async def is_revoked(tx: Tx, tenant_id: UUID, jti: UUID) -> bool:
    """Tell whether a token was revoked."""
    return bool(
        await tx.fetch_value(
            "SELECT EXISTS (SELECT FROM oauth_revocations WHERE tenant_id = $1 AND jti = $2)", tenant_id, jti
        )
    )


async def prune(tx: Tx, now: datetime, limit: int) -> int:
    """Delete spent ids and revocations that matter no more, at most ``limit`` of each; returns how many."""
    gone = 0
    for table in ("spent_token_ids", "oauth_revocations"):
        gone += await tx.delete_before(table, "expires_at", now, limit)
    return gone


async def lock_signing_keys(tx: Tx) -> None:
    """Let one transaction at a time plan signing keys."""
    await tx.run("SELECT pg_advisory_xact_lock(hashtextextended('guardhouse signing keys', 0))")


async def list_signing_keys(tx: Tx) -> list[StoredKey]:
    """Return every signing key, first use first."""
    rows = await tx.execute(select(oauth_signing_keys).order_by(oauth_signing_keys.c.use_from))
    return [StoredKey(row.kid, row.public_jwk, row.sealed, row.created_at, row.use_from) for row in rows]


async def add_signing_key(tx: Tx, key: StoredKey) -> None:
    """Insert one signing key."""
    await tx.execute(
        insert(oauth_signing_keys).values(
            kid=key.kid,
            public_jwk=key.public_jwk,
            sealed=key.sealed,
            created_at=key.created_at,
            use_from=key.use_from,
        )
    )


async def delete_signing_keys(tx: Tx, kids: Sequence[str]) -> None:
    """Remove signing keys that no living token needs."""
    await tx.execute(delete(oauth_signing_keys).where(oauth_signing_keys.c.kid.in_(kids)))
