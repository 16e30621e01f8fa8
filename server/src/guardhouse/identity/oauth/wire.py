"""Shapes of the OAuth endpoints, as the RFCs name their members."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from guardhouse.foundation import correlation
from guardhouse.identity import jws
from guardhouse.identity.oauth.answer import GRANT
from guardhouse.identity.oauth.client_proof import ASSERTION_TYPE, TOKEN_PATH
from guardhouse.identity.oauth.refusals import OAuthRefusal
from guardhouse.identity.roles import SCOPES
from guardhouse.identity.tokens.signing_keys import ALGORITHM

DOCUMENTATION = "/api/v1/docs"
_PROOFS = ["client_secret_basic", "client_secret_post", "private_key_jwt"]


class ClientProof(BaseModel):
    """How a client proves itself when it does not use HTTP Basic."""

    client_id: str | None = None
    client_secret: str | None = None
    client_assertion_type: Annotated[str | None, Field(examples=[ASSERTION_TYPE])] = None
    client_assertion: str | None = None


class TokenRequest(ClientProof):
    """What `POST /oauth/token` takes."""

    grant_type: Annotated[str, Field(examples=[GRANT])]
    scope: Annotated[str | None, Field(description="Scopes, separated by spaces; all when absent.")] = None
    resource: str | None = None


class TokenQuestion(ClientProof):
    """What introspection and revocation take."""

    token: str
    token_type_hint: str | None = None


class TokenAnswer(BaseModel):
    """A token, given once."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Field(description="Seconds.")]
    scope: str


class Introspection(BaseModel):
    """What a token is worth (RFC 7662)."""

    active: bool
    token_type: str | None = None
    scope: str | None = None
    iss: str | None = None
    sub: str | None = None
    client_id: str | None = None
    aud: str | None = None
    exp: int | None = None
    iat: int | None = None
    jti: str | None = None
    tenant_id: str | None = None


class OAuthError(BaseModel):
    """A refusal of an OAuth endpoint (RFC 6749 §5.2)."""

    error: str
    error_description: str
    correlation_id: str


class AuthorizationServer(BaseModel):
    """Metadata of the authorization server (RFC 8414)."""

    issuer: str
    token_endpoint: str
    introspection_endpoint: str
    revocation_endpoint: str
    jwks_uri: str
    grant_types_supported: list[str]
    response_types_supported: list[str]
    scopes_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    token_endpoint_auth_signing_alg_values_supported: list[str]
    introspection_endpoint_auth_methods_supported: list[str]
    introspection_endpoint_auth_signing_alg_values_supported: list[str]
    revocation_endpoint_auth_methods_supported: list[str]
    revocation_endpoint_auth_signing_alg_values_supported: list[str]
    access_token_signing_alg_values_supported: list[str]
    service_documentation: str


class ProtectedResource(BaseModel):
    """Metadata of the API as a protected resource (RFC 9728)."""

    resource: str
    resource_name: str
    authorization_servers: list[str]
    bearer_methods_supported: list[str]
    scopes_supported: list[str]
    resource_documentation: str


class PublicKeys(BaseModel):
    """A JWK Set (RFC 7517)."""

    keys: list[dict[str, Any]]


def error_shape(refusal: OAuthRefusal) -> OAuthError:
    """Return the wire form of a refusal."""
    return OAuthError(
        error=refusal.error, error_description=str(refusal), correlation_id=correlation.current()
    )


def authorization_server(public_url: str) -> AuthorizationServer:
    """Return the metadata of the server that is reached at this URL."""
    algorithms = list(jws.ALGORITHMS)
    return AuthorizationServer(
        issuer=public_url,
        token_endpoint=public_url + TOKEN_PATH,
        introspection_endpoint=f"{public_url}/oauth/introspect",
        revocation_endpoint=f"{public_url}/oauth/revoke",
        jwks_uri=f"{public_url}/.well-known/jwks.json",
        grant_types_supported=[GRANT],
        response_types_supported=[],
        scopes_supported=sorted(SCOPES),
        token_endpoint_auth_methods_supported=_PROOFS,
        token_endpoint_auth_signing_alg_values_supported=algorithms,
        introspection_endpoint_auth_methods_supported=_PROOFS,
        introspection_endpoint_auth_signing_alg_values_supported=algorithms,
        revocation_endpoint_auth_methods_supported=_PROOFS,
        revocation_endpoint_auth_signing_alg_values_supported=algorithms,
        access_token_signing_alg_values_supported=[ALGORITHM],
        service_documentation=public_url + DOCUMENTATION,
    )


def protected_resource(public_url: str) -> ProtectedResource:
    """Return the metadata of the API that is reached at this URL."""
    return ProtectedResource(
        resource=public_url,
        resource_name="Guardhouse",
        authorization_servers=[public_url],
        bearer_methods_supported=["header"],
        scopes_supported=sorted(SCOPES),
        resource_documentation=public_url + DOCUMENTATION,
    )
