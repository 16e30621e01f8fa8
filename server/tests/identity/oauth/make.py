"""OAuth2 clients and tokens for tests."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jws
from joserfc.jwk import ECKey, KeyParameters, OKPKey, RSAKey

from guardhouse.foundation.jobs import ClaimedJob, JobContext
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity.store import Tenant
from guardhouse.identity.tokens import clients
from guardhouse.identity.tokens.clients import NewClient
from guardhouse.identity.tokens.store import Client

ISSUER = "http://127.0.0.1:8000"
Key = ECKey | RSAKey | OKPKey


async def client(
    resources: Resources, owner: Tenant, role: str = "admin", **wanted: Any
) -> tuple[Client, str]:
    """Make a client; return it and its secret (empty when it proves itself by a key)."""
    async with system_transaction(resources.database) as tx:
        made, secret = await clients.create_client(
            tx,
            resources.clock,
            resources.peppers[0],
            owner,
            NewClient("test", role, **wanted),
            created_by="test",
        )
    return made, secret or ""


def context(resources: Resources, name: str) -> JobContext:
    """Return what a schedule's handler gets."""
    job = ClaimedJob(1, name, "null", None, "platform", 1, 0, resources.clock.now(), "")
    return JobContext(resources, job)


def basic(name: object, secret: str) -> dict[str, str]:
    """Return the header of HTTP Basic."""
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


async def token(http: httpx.AsyncClient, owner: Client, secret: str, **form: str) -> str:
    """Fetch an access token."""
    answer = await http.post(
        "/oauth/token", data={"grant_type": "client_credentials", **form}, headers=basic(owner.id, secret)
    )
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["access_token"]
    return text


def bearing(text: str) -> dict[str, str]:
    """Return the header that presents a token."""
    return {"Authorization": f"Bearer {text}"}


def key(kind: str = "EC", kid: str | None = "k1") -> Key:
    """Make a private key."""
    parameters: KeyParameters = {} if kid is None else {"kid": kid}
    if kind == "EC":
        return ECKey.import_key(_pem(ec.generate_private_key(ec.SECP256R1())), parameters)
    if kind == "OKP":
        return OKPKey.import_key(_pem(ed25519.Ed25519PrivateKey.generate()), parameters)
    return RSAKey.import_key(_pem(rsa.generate_private_key(65537, 2048)), parameters)


def public(*keys: Key) -> dict[str, Any]:
    """Return the JWK Set of the public halves."""
    return {"keys": [dict(each.as_dict(private=False)) for each in keys]}


def sign(signer: Key, algorithm: str, claims: Mapping[str, Any], **header: Any) -> str:
    """Sign claims with an independent implementation of JWS."""
    head = {"alg": algorithm, **({"kid": signer.kid} if signer.kid else {}), **header}
    registry = jws.JWSRegistry(algorithms=["ES256", "RS256", "PS256", "EdDSA"], strict_check_header=False)
    return jws.serialize_compact(head, json.dumps(claims).encode(), signer, registry=registry)


def forged(header: Mapping[str, Any], claims: Mapping[str, Any], signature: bytes = b"") -> str:
    """Return three parts of whatever is in them."""
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def assertion(owner: Client, now: datetime, **changed: Any) -> dict[str, Any]:
    """Return the claims of a client's assertion, some of them changed or (None) left out."""
    instant = int(now.timestamp())
    claims = {
        "iss": str(owner.id), "sub": str(owner.id), "aud": f"{ISSUER}/oauth/token", "iat": instant, "exp": instant + 60,
        "jti": uuid4().hex,
    } | changed  # fmt: skip
    return {name: value for name, value in claims.items() if value is not None}


def _pem(private: Any) -> bytes:

    return bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


async def eventually(ask: Callable[[], Awaitable[object]], expected: object) -> None:
    """Wait until an answer is as expected; the promise is a second, the bound is generous."""
    async with asyncio.timeout(5):
        while await ask() != expected:
            await asyncio.sleep(0.02)


async def until(client: httpx.AsyncClient, text: str, status: int) -> None:
    """Wait until a token is answered with this status; the promise is a second, the bound is generous."""
    async with asyncio.timeout(5):
        while (await client.get("/api/v1/me", headers=bearing(text))).status_code != status:
            await asyncio.sleep(0.02)
