"""Routes of signing in with OpenID Connect: go to the issuer, come back, sign out, be signed out."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.routing import APIRoute
from starlette.responses import HTMLResponse, JSONResponse

from guardhouse.foundation import correlation
from guardhouse.foundation.body_docs import raw_body
from guardhouse.foundation.errors import InvalidRequest, Problem, UnsupportedMediaType
from guardhouse.foundation.form import FORM_TYPE, read_form
from guardhouse.foundation.request import Shared, resources_of, tenant_transaction
from guardhouse.identity import session_cookie, sessions
from guardhouse.identity.bearers import Bearers
from guardhouse.identity.caller import Caller, Require
from guardhouse.identity.claims import ClaimRefused
from guardhouse.identity.jws import NotOpened
from guardhouse.identity.oauth.refusals import OAuthInvalidRequest
from guardhouse.identity.oauth.wire import OAuthError, error_shape
from guardhouse.identity.oidc import sign_in_state
from guardhouse.identity.oidc.log_out import end_by_token, end_session_url
from guardhouse.identity.oidc.page import HEADERS, failed_page
from guardhouse.identity.oidc.refused import SignInRefused
from guardhouse.identity.oidc.sign_in import come_back, issuer_of, send_away
from guardhouse.identity.oidc.wire import LogoutRequest, SignedOut
from guardhouse.identity.sign_in.wire import safe_next

LOGIN_PATH: Final = "/auth/oidc/login"
_PAGE: Final[dict[int | str, dict[str, Any]]] = {
    status: {"content": {"text/html": {}}, "description": "A page that says why and what to quote"}
    for status in (400, 403, 404, 406, 422, 429, 503)
}


class PageRoute(APIRoute):
    """A route for browsers: whatever is refused is a page."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        handle = super().get_route_handler()

        async def show(request: Request) -> Response:
            try:
                return await handle(request)
            except SignInRefused as refused:
                return _page(request, str(refused), refused.code, refused.status, {})
            except Problem as problem:
                return _page(request, problem.detail, problem.code, problem.status, problem.headers)

        return show


router = APIRouter(prefix="/auth/oidc", tags=["sessions"])
pages = APIRouter(prefix="/auth/oidc", tags=["sessions"], route_class=PageRoute)
IssuerName = Annotated[str, Query(max_length=64, description="The id of the issuer.")]
Onward = Annotated[
    str | None, Query(alias="next", max_length=2000, description="Path to go on to, of this origin.")
]
Answered = Annotated[str | None, Query(max_length=4096, description="From the issuer.")]


@pages.get(
    "/login",
    status_code=303,
    operation_id="begin_sign_in",
    response_class=Response,
    responses=_PAGE,
)
async def begin_sign_in(
    request: Request, shared: Shared, issuer: IssuerName = "", onward: Onward = None
) -> Response:
    """Send the browser to an issuer to sign in; it comes back within ten minutes or begins anew."""
    trusted = await issuer_of(shared, issuer)
    state = sign_in_state.begin(str(trusted.id), safe_next(onward), shared.clock.now())
    location = await send_away(shared, _bearers(request).directory, trusted, state)
    packed = sign_in_state.pack(state, shared.master_key)
    cookie = sign_in_state.set_cookie(shared.settings.public_url, packed)
    headers = {"Location": location, "Set-Cookie": cookie, "Cache-Control": "no-store"}
    return Response(status_code=303, headers=headers)


@pages.get(
    "/callback",
    status_code=303,
    operation_id="finish_sign_in",
    response_class=Response,
    responses=_PAGE,
)
async def finish_sign_in(  # noqa: PLR0913 - each is a parameter of the protocol
    request: Request,
    shared: Shared,
    *,
    state: Answered = None,
    code: Answered = None,
    iss: Answered = None,
    error: Answered = None,
    error_description: Answered = None,
    session_state: Answered = None,
) -> Response:
    """Take the issuer's answer: open a session and send the browser on to where it wanted."""
    del error_description, session_state  # read by nobody: what comes from outside is not shown
    public_url = shared.settings.public_url
    carried = request.cookies.get(sign_in_state.cookie_name(public_url))
    begun = sign_in_state.unpack(carried, shared.master_key, shared.clock.now())
    given = {"state": state, "code": code, "iss": iss, "error": error}
    value = await come_back(
        shared,
        _bearers(request).directory,
        begun,
        {name: text for name, text in given.items() if text is not None},
        request.cookies.get(session_cookie.cookie_name(public_url)),
    )
    response = Response(status_code=303, headers={"Cache-Control": "no-store"})
    response.headers["Location"] = begun.onward if begun else "/"
    response.headers.append("Set-Cookie", session_cookie.set_cookie(public_url, value))
    response.headers.append("Set-Cookie", sign_in_state.set_cookie(public_url, ""))
    return response


@router.post("/logout", operation_id="sign_out")
async def sign_out(
    caller: Annotated[Caller, Depends(Require(None))], request: Request, shared: Shared, response: Response
) -> SignedOut:
    """Sign out here, and say where to sign out of the issuer too. Without a session there is nothing to end."""
    response.headers["Set-Cookie"] = session_cookie.clear_cookie(shared.settings.public_url)
    if caller.session_id is None:
        return SignedOut(end_session_url=None)
    async with tenant_transaction(shared, caller.tenant) as tx:
        session = await sessions.get_session(tx, caller.tenant.id, caller.session_id)
        await sessions.end_session(tx, caller.actor, session)
    return SignedOut(end_session_url=await end_session_url(shared, _bearers(request).directory, session))


@router.post(
    "/backchannel-logout",
    operation_id="end_sessions_of_issuer",
    response_class=Response,
    responses={400: {"model": OAuthError, "description": "Not a logout token for this server"}},
    openapi_extra=raw_body({FORM_TYPE: (LogoutRequest,)}, "OpenID Connect Back-Channel Logout 1.0 §2.5."),
)
async def end_sessions_of_issuer(request: Request) -> Response:
    """End the sessions that an issuer names, everywhere within a second; 200 whether there were any or not."""
    headers = {"Cache-Control": "no-store"}
    try:
        form = await read_form(request.headers.get("content-type", ""), request.stream())
        await end_by_token(_bearers(request), form.get("logout_token", ""))
    except (InvalidRequest, UnsupportedMediaType, NotOpened, ClaimRefused):
        refusal = OAuthInvalidRequest("This is no logout token that counts here.")
        return JSONResponse(error_shape(refusal).model_dump(), refusal.status, headers)
    return Response(headers=headers)


def _page(request: Request, reason: str, code: str, status: int, headers: Any) -> Response:
    shared = resources_of(request)
    public_url = shared.settings.public_url
    carried = request.cookies.get(sign_in_state.cookie_name(public_url))
    begun = sign_in_state.unpack(carried, shared.master_key, shared.clock.now())
    again = f"{LOGIN_PATH}?issuer={begun.issuer_id}" if begun else None
    response = HTMLResponse(
        failed_page(reason, code, correlation.current(), again), status, {**headers, **HEADERS}
    )
    response.headers.append("Set-Cookie", sign_in_state.set_cookie(public_url, ""))
    return response


def _bearers(request: Request) -> Bearers:
    found: Bearers = request.app.state.bearers
    return found
