"""What an issuer says of itself (OpenID Connect Discovery 1.0 §3, RFC 8414 §2): where its keys and endpoints are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from guardhouse.foundation.clock import Clock
from guardhouse.foundation.errors import Unavailable
from guardhouse.foundation.outbound import Outbound
from guardhouse.identity import jws
from guardhouse.identity.jws import KeySet, NotOpened, Sealed
from guardhouse.identity.published import NotPublished, Published

_PATH: Final = "/.well-known/openid-configuration"


class IssuerUnavailable(Unavailable):
    """The issuer does not answer, and nothing of it is at hand from the last day."""

    status, code, title = 503, "issuer_unavailable", "Issuer unavailable"
    remediation = (
        "Try again when the issuer answers; `POST /api/v1/identity/issuers/{id}/test` says what is wrong."
    )


@dataclass(frozen=True, slots=True)
class Discovered:
    """The metadata that matters here."""

    issuer: str
    jwks_uri: str
    authorization_endpoint: str | None
    token_endpoint: str | None
    end_session_endpoint: str | None
    names_itself: bool
    token_auth_methods: tuple[str, ...]


class Directory:
    """Metadata and keys of issuers, and key sets of clients, as this process has them."""

    def __init__(self, outbound: Outbound, clock: Clock) -> None:
        self.metadata: Published[Discovered] = Published(outbound, clock, read_metadata)
        self.keys: Published[KeySet] = Published(outbound, clock, read_keys)

    async def discover(self, issuer: str) -> Discovered:
        """Return an issuer's metadata, which must name that issuer byte for byte.

        Raises:
            IssuerUnavailable: there is none to be had.
        """
        try:
            found = await self.metadata.get(metadata_url(issuer))
        except NotPublished as failure:
            raise IssuerUnavailable(f"The issuer cannot be read. {failure}") from None
        if found.issuer != issuer:
            raise IssuerUnavailable("The issuer's metadata names another issuer.")
        return found

    async def keys_of(self, issuer: str, sealed: Sealed) -> KeySet:
        """Return the issuer's keys, asked for anew when the one that signed is not among them.

        Raises:
            IssuerUnavailable: there are none to be had.
        """
        return await self.keys_at((await self.discover(issuer)).jwks_uri, sealed)

    async def keys_at(self, url: str, sealed: Sealed) -> KeySet:
        """Return the keys published at a URL, as :meth:`keys_of`.

        Raises:
            IssuerUnavailable: there are none to be had.
        """
        try:
            return await self.keys.get(url, enough=lambda keys: keys.pick(sealed) is not None)
        except NotPublished as failure:
            raise IssuerUnavailable(f"The keys cannot be read. {failure}") from None


def metadata_url(issuer: str) -> str:
    """Return where an issuer publishes its metadata."""
    return issuer.rstrip("/") + _PATH


def read_metadata(document: Any) -> Discovered:
    """Return the metadata in a JSON value.

    Raises:
        ValueError: no object, or without issuer and jwks_uri.
    """
    if not isinstance(document, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - what is wrong with a document is a ValueError here
    issuer, jwks_uri = (_text(document, name) for name in ("issuer", "jwks_uri"))
    if issuer is None or jwks_uri is None:
        raise ValueError("issuer or jwks_uri is missing")
    methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    return Discovered(
        issuer=issuer,
        jwks_uri=jwks_uri,
        authorization_endpoint=_text(document, "authorization_endpoint"),
        token_endpoint=_text(document, "token_endpoint"),
        end_session_endpoint=_text(document, "end_session_endpoint"),
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
        token_auth_methods=tuple(name for name in methods if isinstance(name, str))
        if isinstance(methods, list)
        else (),
    )


def read_keys(document: Any) -> KeySet:
    """Return the usable keys in a JSON value.

    Raises:
        ValueError: there are none.
    """
    try:
        return jws.key_set(document)
    except NotOpened as error:
        raise ValueError(str(error)) from None


def _text(document: Mapping[str, Any], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) and value else None
