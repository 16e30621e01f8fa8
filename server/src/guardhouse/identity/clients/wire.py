"""Shapes of OAuth2 clients on the wire."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.marked_members import ShownOnce
from guardhouse.foundation.pages import Pagination
from guardhouse.identity.tokens.store import Client, ClientSecret

ClientRole = Literal["viewer", "analyst", "admin", "agent", "billing"]
Name = Annotated[str, Field(min_length=1, max_length=200, examples=["nightly export"])]
Scopes = Annotated[list[str], Field(min_length=1, max_length=100)]
TokenSeconds = Annotated[int, Field(ge=60, le=3600, description="How long its access tokens live.")]
KeyUrl = Annotated[str, Field(max_length=2048, description="https URL of the client's JWK Set.")]


class ClientRequest(BaseModel):
    """What `POST /oauth/clients` takes; with `jwks` or `jwks_uri` the client signs assertions and gets no secret."""

    model_config = ConfigDict(extra="forbid", title="ClientRequest")

    name: Name
    role: ClientRole = "viewer"
    scopes: Annotated[Scopes | None, Field(description="All scopes of the role when absent.")] = None
    token_seconds: TokenSeconds = 900
    jwks: dict[str, Any] | None = None
    jwks_uri: KeyUrl | None = None


class ClientChange(BaseModel):
    """What `PATCH /oauth/clients/{client_id}` takes; absent members stay as they are."""

    model_config = ConfigDict(extra="forbid", title="ClientChange")

    name: Name | None = None
    scopes: Scopes | None = None
    token_seconds: TokenSeconds | None = None
    state: Literal["active", "suspended"] | None = None
    jwks: dict[str, Any] | None = None
    jwks_uri: KeyUrl | None = None


class ClientSecretShape(BaseModel):
    """A live secret without its text."""

    id: str
    last4: str
    created_at: str


class NewClientSecretShape(ClientSecretShape):
    """A secret with its text, given once."""

    client_secret: ShownOnce


class ClientShape(BaseModel):
    """An OAuth2 client."""

    id: Annotated[str, Field(description="The `client_id` of OAuth2.")]
    name: str
    role: str
    scopes: list[str]
    token_seconds: int
    state: str
    proof: Annotated[Literal["client_secret", "private_key_jwt"], Field(description="How it proves itself.")]
    secrets: list[ClientSecretShape]
    jwks: dict[str, Any] | None
    jwks_uri: str | None
    created_at: str
    created_by: str


class NewClientShape(ClientShape):
    """A client with its first secret, given once; null when it proves itself by a key."""

    client_secret: ShownOnce


class ClientList(BaseModel):
    """One page of clients."""

    data: list[ClientShape]
    pagination: Pagination


def secret_shape(secret: ClientSecret) -> ClientSecretShape:
    """Return the public form of a secret."""
    return ClientSecretShape(id=str(secret.id), last4=secret.last4, created_at=rfc3339(secret.created_at))


def client_shape(client: Client) -> ClientShape:
    """Return the public form of a client."""
    return ClientShape(
        id=str(client.id),
        name=client.name,
        role=client.role,
        scopes=list(client.scopes),
        token_seconds=client.token_seconds,
        state=client.state,
        proof="private_key_jwt" if client.signs else "client_secret",
        secrets=[secret_shape(secret) for secret in client.secrets],
        jwks=client.jwks,
        jwks_uri=client.jwks_uri,
        created_at=rfc3339(client.created_at),
        created_by=client.created_by,
    )
