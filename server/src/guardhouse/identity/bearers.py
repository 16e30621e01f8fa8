"""Bearer tokens: whose they are, looked up once and believed for at most a minute.

A revocation, a changed client or issuer, a suspended tenant: a NOTIFY drops what every process remembers.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from guardhouse.foundation.database import Tx
from guardhouse.foundation.request import system_transaction
from guardhouse.foundation.resources import Resources
from guardhouse.identity import jws
from guardhouse.identity.claims import SKEW_SECONDS, ClaimExpired, ClaimRefused
from guardhouse.identity.issuers import store as issuer_store
from guardhouse.identity.issuers.accept_bearer import accept_bearer
from guardhouse.identity.issuers.discover import Directory
from guardhouse.identity.issuers.store import Issuer
from guardhouse.identity.jws import NotOpened, Sealed
from guardhouse.identity.refusals import InvalidToken, TokenExpired
from guardhouse.identity.remembered import Remembered
from guardhouse.identity.roles import SCOPES
from guardhouse.identity.store import Tenant
from guardhouse.identity.tokens import access_token, signing_keys, store
from guardhouse.identity.tokens.access_token import AccessToken
from guardhouse.identity.tokens.signing_keys import KeyRing, SigningKey
from guardhouse.identity.tokens.store import Client

TOKEN: Final = "token"  # noqa: S105 - the kind of a name, no secret
TRUST: Final = "trust"
VERIFIED_SECONDS: Final = 60.0
CLIENT_SECONDS: Final = 30.0
RING_SECONDS: Final = 60.0
TRUSTED_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom a good token stands for: a client of ours, or a user of an external issuer.

    ``held_as`` names the token for :meth:`Bearers.still_good`, without its text.
    """

    tenant: Tenant
    kind: str
    role: str
    scopes: frozenset[str]
    credential_id: str
    expires: float
    held_as: str


class Bearers:
    """What one process knows of clients, signing keys and tokens."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources

        def connected() -> bool:
            return resources.wake.connected

        self._verified: Remembered[bytes, Bearer] = Remembered(connected, seconds=VERIFIED_SECONDS)
        self._clients: Remembered[UUID, Client | None] = Remembered(connected, seconds=CLIENT_SECONDS)
        self._rings: Remembered[str, KeyRing] = Remembered(connected, seconds=RING_SECONDS)
        self._trusted: Remembered[str, tuple[Issuer, ...]] = Remembered(connected, seconds=TRUSTED_SECONDS)
        self.directory = Directory(resources.outbound, resources.clock)

    def drop(self, _payload: str = "") -> None:
        """Forget everything: something of identity has changed somewhere."""
        for memory in (self._verified, self._clients, self._rings, self._trusted):
            memory.drop()

    async def find(self, text: str) -> Bearer:
        """Return whom a bearer token stands for.

        Raises:
            InvalidToken: not a token that is good here; the reason is told to whoever holds a signed one.
            TokenExpired: it was good.
        """
        digest, now = hashlib.sha256(text.encode()).digest(), self.resources.clock.now()
        _, bearer = self._verified.get(digest)
        if bearer is None:
            generation = self._verified.generation
            try:
                bearer = await self._verify(jws.read(text), now)
            except NotOpened:
                raise InvalidToken from None
            except ClaimExpired:
                raise TokenExpired from None
            except ClaimRefused as refused:
                raise InvalidToken(str(refused)) from None
            self._verified.put(digest, bearer, generation)
        if bearer.expires + SKEW_SECONDS <= now.timestamp():
            raise TokenExpired
        return bearer

    async def client(self, client_id: UUID) -> Client | None:
        """Return a client of any tenant."""
        known, client = self._clients.get(client_id)
        if not known:
            generation = self._clients.generation
            async with system_transaction(self.resources) as tx:
                client = await store.find_client(tx, client_id)
            self._clients.put(client_id, client, generation)
        return client

    async def ring(self) -> KeyRing:
        """Return our published signing keys; the first one is made when it is first asked for."""
        _, ring = self._rings.get("")
        if ring is None or ring.current(self.resources.clock.now()) is None:
            generation = self._rings.generation
            async with system_transaction(self.resources) as tx:
                ring = await signing_keys.load_ring(tx, self.resources.master_key)
                if ring.current(self.resources.clock.now()) is None:
                    ring = await signing_keys.keep_keys(tx, self.resources.clock, self.resources.master_key)
            self._rings.put("", ring, generation)
        return ring

    async def signing_key(self) -> SigningKey:
        """Return the key that signs now."""
        key = (await self.ring()).current(self.resources.clock.now())
        if key is None:
            raise RuntimeError("no signing key can be opened or made")
        return key

    async def own_token(self, sealed: Sealed, now: datetime) -> tuple[AccessToken, Client]:
        """Return what a living token of ours says, and its client.

        Raises:
            NotOpened: not ours.
            ClaimRefused: expired, revoked, or its client is gone or suspended.
        """
        issuer = self.resources.settings.public_url
        token = access_token.verify(sealed, await self.ring(), issuer=issuer, now=now)
        async with system_transaction(self.resources) as tx:
            client = await store.get_client(tx, token.tenant_id, token.client_id)
            revoked = await store.is_revoked(tx, token.tenant_id, token.jti)
        if revoked:
            raise ClaimRefused("the token was revoked")
        if client is None or client.state != "active":
            raise ClaimRefused("the client is not active")
        return token, client

    async def client_keys(self, client: Client, sealed: Sealed) -> jws.KeySet:
        """Return the keys a client signs its assertions with.

        Raises:
            NotOpened: it has none.
            IssuerUnavailable: it publishes them at a URL that does not answer.
        """
        if client.jwks_uri is not None:
            return await self.directory.keys_at(client.jwks_uri, sealed)
        return jws.key_set(client.jwks)

    async def trusted(self, issuer: str) -> tuple[Issuer, ...]:
        """Return every active tenant's trust in an issuer, oldest first."""
        known, found = self._trusted.get(issuer)
        if not known or found is None:
            generation = self._trusted.generation
            async with system_transaction(self.resources) as tx:
                found = tuple(await issuer_store.find_issuers(tx, issuer))
            self._trusted.put(issuer, found, generation)
        return found

    async def _verify(self, sealed: Sealed, now: datetime) -> Bearer:
        if sealed.claims.get("iss") == self.resources.settings.public_url:
            token, client = await self.own_token(sealed, now)
            scopes = token.scopes.intersection(client.scopes)
            held_as = f"{TOKEN}:{client.id}:{token.jti}:{token.expires:.0f}"
            return Bearer(
                client.tenant, "client", client.role, scopes, str(client.id), token.expires, held_as
            )
        issuer = sealed.claims.get("iss")
        trusted = await self.trusted(issuer) if isinstance(issuer, str) and _storable(issuer) else ()
        if not trusted:
            raise NotOpened("of an unknown issuer")
        accepted = await accept_bearer(self.directory, trusted, sealed, now)
        credential = f"{accepted.issuer.id}/{accepted.subject}"
        held_as = f"{TRUST}:{accepted.issuer.id}:{accepted.expires:.0f}"
        return Bearer(
            accepted.issuer.tenant,
            "user",
            accepted.role,
            accepted.scopes,
            credential,
            accepted.expires,
            held_as,
        )


async def bearer_scopes(tx: Tx, tenant_id: UUID, held_as: str, now: datetime) -> frozenset[str] | None:
    """Return the scopes that the token named by ``Bearer.held_as`` could have now; None when it opens nothing more.

    A trusted issuer gives no word of a token before it expires: until then, and while the trust lasts, it may have any.

    Raises:
        ValueError: not such a name.
    """
    kind, owner, *rest = held_as.split(":")
    if float(rest[-1]) + SKEW_SECONDS <= now.timestamp():
        return None
    if kind == TRUST:
        issuer = await issuer_store.get_issuer(tx, tenant_id, UUID(owner))
        living = issuer is not None and issuer.state == "active" and issuer.tenant.state == "active"
        return SCOPES if living else None
    client = await store.get_client(tx, tenant_id, UUID(owner))
    if client is None or client.state != "active" or client.tenant.state != "active":
        return None
    return None if await store.is_revoked(tx, tenant_id, UUID(rest[0])) else frozenset(client.scopes)


def _storable(text: str) -> bool:
    return text.isascii() and "\0" not in text  # what is not can be no URL, and PostgreSQL would not take it
