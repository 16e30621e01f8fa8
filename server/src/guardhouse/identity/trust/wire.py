"""Shapes of external issuers on the wire."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from guardhouse.foundation.clock import rfc3339
from guardhouse.foundation.pages import Pagination
from guardhouse.identity.issuers.store import Issuer

Algorithm = Literal["RS256", "PS256", "ES256", "EdDSA"]
MappedRole = Literal["viewer", "analyst", "admin", "agent", "billing"]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Url = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
Claim = Annotated[
    str, Field(min_length=1, max_length=200, description="A claim's name, or steps down parted by dots.")
]
RoleMap = Annotated[
    dict[Text, MappedRole],
    Field(min_length=1, max_length=200, examples=[{"guardhouse-admins": "admin", "staff": "viewer"}]),
]
ScopeMap = Annotated[dict[Text, Annotated[list[Text], Field(max_length=100)]], Field(max_length=200)]
Algorithms = Annotated[list[Algorithm], Field(min_length=1, max_length=4)]
SignInScope = Annotated[str, Field(pattern=r"^openid( [!-~]{1,100}){0,20}$", max_length=500)]


class IssuerRequest(BaseModel):
    """What `POST /identity/issuers` takes."""

    model_config = ConfigDict(extra="forbid", title="IssuerRequest")

    name: Text
    issuer: Annotated[
        Url, Field(description="Compared byte for byte with `iss`.", examples=["https://login.example"])
    ]
    audience: Annotated[Text, Field(description="What bearer tokens must have in `aud`.")]
    algorithms: Algorithms = ["RS256", "ES256"]
    client_id: Annotated[Text | None, Field(description="Needed for people to sign in.")] = None
    client_secret: Annotated[Text | None, Field(description="Absent: a public client, with PKCE alone.")] = (
        None
    )
    sign_in_scope: SignInScope = "openid profile email"
    role_claim: Claim = "roles"
    role_map: RoleMap
    scope_claim: Annotated[Claim | None, Field(description="Narrows the role's scopes when given.")] = None
    scope_map: ScopeMap = {}
    tenant_claim: Annotated[
        Claim | None, Field(description="Must equal `tenant_value`, for shared issuers.")
    ] = None
    tenant_value: Text | None = None

    @model_validator(mode="after")
    def _rule_is_whole(self) -> "IssuerRequest":
        if (self.tenant_claim is None) != (self.tenant_value is None):
            raise ValueError("tenant_claim and tenant_value go together")
        return self


class IssuerChange(BaseModel):
    """What `PATCH /identity/issuers/{issuer_id}` takes; absent members stay. The issuer itself cannot change."""

    model_config = ConfigDict(extra="forbid", title="IssuerChange")

    name: Text | None = None
    audience: Text | None = None
    algorithms: Algorithms | None = None
    client_id: Text | None = None
    client_secret: Annotated[Text | None, Field(description="A new one, or null for a public client.")] = None
    sign_in_scope: SignInScope | None = None
    role_claim: Claim | None = None
    role_map: RoleMap | None = None
    scope_claim: Claim | None = None
    scope_map: ScopeMap | None = None
    tenant_claim: Claim | None = None
    tenant_value: Text | None = None
    state: Literal["active", "disabled"] | None = None


class IssuerShape(BaseModel):
    """An external issuer that the tenant trusts; never its client secret."""

    id: str
    name: str
    issuer: str
    audience: str
    algorithms: list[str]
    client_id: str | None
    confidential: bool
    sign_in_scope: str
    role_claim: str
    role_map: dict[str, str]
    scope_claim: str | None
    scope_map: dict[str, list[str]]
    tenant_claim: str | None
    tenant_value: str | None
    state: str
    sign_in_url: Annotated[str | None, Field(description="Where people begin to sign in.")]
    created_at: str
    created_by: str


class IssuerList(BaseModel):
    """One page of issuers."""

    data: list[IssuerShape]
    pagination: Pagination


class IssuerTestRequest(BaseModel):
    """What `POST /identity/issuers/{issuer_id}/test` takes."""

    model_config = ConfigDict(extra="forbid", title="IssuerTestRequest")

    token: Annotated[str | None, Field(max_length=8192, description="A bearer token to judge; not kept.")] = (
        None
    )


class IssuerCheck(BaseModel):
    """One step of the test."""

    step: Literal["metadata", "issuer", "keys", "sign_in", "token", "role"]
    ok: bool
    detail: str


class IssuerTest(BaseModel):
    """What the issuer says now, step by step."""

    ok: bool
    checks: list[IssuerCheck]
    role: str | None = None
    scopes: list[str] | None = None


def issuer_shape(issuer: Issuer, public_url: str) -> IssuerShape:
    """Return the public form of an issuer."""
    return IssuerShape(
        id=str(issuer.id),
        confidential=issuer.sealed_secret is not None,
        sign_in_url=f"{public_url}/auth/oidc/login?issuer={issuer.id}" if issuer.client_id else None,
        created_at=rfc3339(issuer.created_at),
        algorithms=list(issuer.algorithms),
        **{name: getattr(issuer, name) for name in _PLAIN},
    )


_PLAIN = (
    "name",
    "issuer",
    "audience",
    "client_id",
    "sign_in_scope",
    "role_claim",
    "role_map",
    "scope_claim",
    "scope_map",
    "tenant_claim",
    "tenant_value",
    "state",
    "created_by",
)


def recorded(issuer: Issuer) -> dict[str, Any]:
    """Return what the audit log keeps of an issuer."""
    kept = {name: getattr(issuer, name) for name in _PLAIN if name != "created_by"}
    return kept | {"algorithms": list(issuer.algorithms), "sealed": issuer.sealed_secret is not None}
