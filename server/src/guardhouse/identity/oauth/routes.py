"""Routes of the OAuth2 server: forms in, OAuth shapes out (RFC 6749, 7009, 7523, 7662, 8414, 9728)."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.responses import JSONResponse

from guardhouse.foundation import peer
from guardhouse.foundation.body_docs import raw_body
from guardhouse.foundation.errors import InvalidRequest, UnsupportedMediaType
from guardhouse.foundation.form import FORM_TYPE, read_form
from guardhouse.foundation.problem_docs import refusals
from guardhouse.foundation.request import Shared
from guardhouse.identity.bearers import Bearers
from guardhouse.identity.failures import Failures, TooManyFailures
from guardhouse.identity.oauth import answer
from guardhouse.identity.oauth.client_proof import prove_client
from guardhouse.identity.oauth.refusals import OAuthInvalidRequest, OAuthRefusal
from guardhouse.identity.oauth.wire import (
    AuthorizationServer,
    Introspection,
    OAuthError,
    ProtectedResource,
    PublicKeys,
    TokenAnswer,
    TokenQuestion,
    TokenRequest,
    authorization_server,
    error_shape,
    protected_resource,
)

UNPROVEN: Final = 401
_PUBLIC: Final = {"Cache-Control": "public, max-age=300"}
_PRIVATE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": OAuthError, "description": "OAuth error, as RFC 6749 §5.2 names it"},
    401: {"model": OAuthError, "description": "OAuth error: invalid_client"},
    **refusals(TooManyFailures),
}


class OAuthRoute(APIRoute):
    """A route whose refusals are OAuth's."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        handle = super().get_route_handler()

        async def speak_oauth(request: Request) -> Response:
            try:
                return await handle(request)
            except OAuthRefusal as refusal:
                if refusal.status == UNPROVEN:
                    failures: Failures = request.app.state.failures
                    failures.count(peer.current().address)
                shape = error_shape(refusal).model_dump()
                return JSONResponse(shape, refusal.status, {**_PRIVATE, **refusal.headers})

        return speak_oauth


router = APIRouter(tags=["oauth"], route_class=OAuthRoute)


@router.post(
    "/oauth/token",
    operation_id="create_token",
    response_model=TokenAnswer,
    responses=_REFUSALS,
    openapi_extra=raw_body({FORM_TYPE: (TokenRequest,)}, "Client credentials (RFC 6749 §4.4)."),
)
async def create_token(request: Request) -> Response:
    """Give a client an access token. The client proves itself by HTTP Basic, in the form, or by a signed assertion."""
    bearers, form = _bearers(request), await _form(request)
    answer.check_grant(form)
    client = await prove_client(bearers, form, request.headers.get("authorization"))
    return JSONResponse(await answer.give_token(bearers, client, form), headers=_PRIVATE)


@router.post(
    "/oauth/introspect",
    operation_id="introspect_token",
    response_model=Introspection,
    response_model_exclude_none=True,
    responses=_REFUSALS,
    openapi_extra=raw_body({FORM_TYPE: (TokenQuestion,)}, "The token in question (RFC 7662)."),
)
async def introspect_token(request: Request) -> Response:
    """Say what a token of the client's own tenant is worth; of any other: that it is not active."""
    bearers, form = _bearers(request), await _form(request)
    client = await prove_client(bearers, form, request.headers.get("authorization"))
    return JSONResponse(await answer.look_into(bearers, client, form), headers=_PRIVATE)


@router.post(
    "/oauth/revoke",
    operation_id="revoke_token",
    response_class=Response,
    responses=_REFUSALS,
    openapi_extra=raw_body({FORM_TYPE: (TokenQuestion,)}, "The token to end (RFC 7009)."),
)
async def revoke_token(request: Request) -> Response:
    """End a token of the client's own everywhere within a second; 200 whatever the token was."""
    bearers, form = _bearers(request), await _form(request)
    client = await prove_client(bearers, form, request.headers.get("authorization"))
    await answer.end_token(bearers, client, form)
    return Response(headers=_PRIVATE)


@router.get("/.well-known/oauth-authorization-server", operation_id="get_authorization_server")
async def get_authorization_server(shared: Shared, response: Response) -> AuthorizationServer:
    """Describe the authorization server (RFC 8414)."""
    response.headers.update(_PUBLIC)
    return authorization_server(shared.settings.public_url)


@router.get("/.well-known/oauth-protected-resource", operation_id="get_protected_resource")
async def get_protected_resource(shared: Shared, response: Response) -> ProtectedResource:
    """Describe the API as a protected resource (RFC 9728)."""
    response.headers.update(_PUBLIC)
    return protected_resource(shared.settings.public_url)


@router.get("/.well-known/jwks.json", operation_id="get_public_keys", response_model=PublicKeys)
async def get_public_keys(request: Request) -> Response:
    """Show the public keys of access tokens; a key is here a day before it signs."""
    ring = await _bearers(request).ring()
    return JSONResponse(ring.document(), headers=_PUBLIC)


def _bearers(request: Request) -> Bearers:
    found: Bearers = request.app.state.bearers
    return found


async def _form(request: Request) -> dict[str, str]:
    try:
        return await read_form(request.headers.get("content-type", ""), request.stream())
    except (InvalidRequest, UnsupportedMediaType) as problem:
        raise OAuthInvalidRequest(problem.detail) from None
