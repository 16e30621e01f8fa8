"""Refusals of the OAuth endpoints, in OAuth's own shape (RFC 6749 §5.2): the one exception to problem documents."""

from collections.abc import Mapping
from typing import ClassVar


class OAuthRefusal(Exception):  # noqa: N818 - named like the problems are
    """A refusal as OAuth clients understand it: ``error`` is the code, the text its description."""

    status: ClassVar[int] = 400
    error: ClassVar[str]
    headers: ClassVar[Mapping[str, str]] = {}


class OAuthInvalidRequest(OAuthRefusal):
    """A parameter is missing, repeated or malformed, or the client proved itself in two ways."""

    error = "invalid_request"


class InvalidClient(OAuthRefusal):
    """The client did not prove who it is. One description for every reason."""

    status, error = 401, "invalid_client"
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'Basic realm="guardhouse", charset="UTF-8"'}

    def __init__(self) -> None:
        super().__init__("The client is unknown, or did not prove who it is.")


class UnauthorizedClient(OAuthRefusal):
    """The client is known and may not have tokens now."""

    error = "unauthorized_client"


class UnsupportedGrantType(OAuthRefusal):
    """Another grant than client credentials."""

    error = "unsupported_grant_type"


class InvalidScope(OAuthRefusal):
    """A scope that does not exist, or that the client does not have."""

    error = "invalid_scope"


class InvalidTarget(OAuthRefusal):
    """A token for another resource was asked for (RFC 8707)."""

    error = "invalid_target"
