"""What a route may ask of a request: the shared Resources and Tx, the request's transaction.

Tx commits *before* the response starts (``scope="function"``): a failed commit is a refusal and never a
false success, and a stream starts with its transaction closed.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection

from guardhouse.foundation import idempotency, transaction
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.idempotency import Answer, Call, IdempotencyInProgress
from guardhouse.foundation.marked_members import BETA, SHOWN_ONCE, Path, change_members, marked_members
from guardhouse.foundation.pages import DEFAULT_LIMIT, MAX_LIMIT, CursorSigner, Page, bind
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.strict_body import CONTROL_BODY_BYTES, StrictRequest

JSON_TYPE: Final = "application/json"
BETA_TYPE: Final = "application/vnd.guardhouse.beta+json"
LOOK_AGAIN_SECONDS: Final = 0.1
_TWO_STEP: Final = "answers_in_two_steps"
_BODY_BYTES: Final = "body_bytes"

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def resources_of(connection: HTTPConnection) -> Resources:
    """Return the Resources of the application that serves this connection."""
    found: Resources = connection.app.state.resources
    return found


async def shared_resources(request: Request) -> Resources:
    """Return the Resources to a route that asks for them; a plain function would go by way of a thread."""
    return resources_of(request)


async def open_tx(request: Request) -> AsyncIterator[Tx]:
    """Open the transaction of a request whose caller is known; its tenant is the caller's.

    Raises:
        Replayed: a POST under this Idempotency-Key was answered before; the route gives that answer again.
    """
    tenant: TenantKey = (
        request.state.tenant
    )  # set by identity.caller; absent = a route without a Caller, a bug
    resources = resources_of(request)
    call = await asked_once(request)
    async with transaction.tenant_transaction(resources.database, tenant) as tx:
        await claim(request, tx, call)
        yield tx


open_tx.claims = True  # type: ignore[attr-defined]  # read by takes_idempotency_key


async def claim(request: Request, tx: Tx, call: Call | None) -> None:
    """Claim the key of a call, first of all in its transaction; without a key nothing happens.

    Raises:
        Replayed: it was answered before.
    """
    if call is None:
        return
    answer = await idempotency.claim(tx, call, resources_of(request).clock.now())
    if answer is not None:
        raise Replayed(answer)
    request.state.claim = _Claim(tx, call)


def tenant_transaction(resources: Resources, tenant: TenantKey) -> AbstractAsyncContextManager[Tx]:
    """Open a transaction at a place of the handler's own choosing, for doors that answer from inside it."""
    return transaction.tenant_transaction(resources.database, tenant)


def system_transaction(resources: Resources) -> AbstractAsyncContextManager[Tx]:
    """Open a transaction before the tenant is known: sign-in, health, the platform's own reads."""
    return transaction.system_transaction(resources.database)


async def page_of(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Rows per page.")] = DEFAULT_LIMIT,
    cursor: Annotated[
        str | None,
        Query(description="`pagination.cursor` of the page before; keep the filters as they were."),
    ] = None,
) -> Page:
    """Read ``limit`` and ``cursor`` of a list call whose caller is known.

    Raises:
        InvalidCursor: tampered, expired, or made for another list.
    """
    resources = resources_of(request)
    filters = [(k, v) for k, v in request.query_params.multi_items() if k not in {"limit", "cursor"}]
    binding = bind(str(request.state.tenant.id), request.scope["route"].path, filters)
    signer = CursorSigner(resources.cursor_keys(), binding, resources.clock)
    return Page(limit, signer.read(cursor) if cursor is not None else None, signer)


AskedPage = Annotated[Page, Depends(page_of)]
Shared = Annotated[Resources, Depends(shared_resources)]
RequestTx = Annotated[Tx, Depends(open_tx, scope="function")]


class Replayed(Exception):  # noqa: N818 - not an error: the answer was given before
    """The call under this Idempotency-Key was answered already; its answer is on its way out."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class StrictRoute(APIRoute):
    """A route that judges the caller before it reads the body, and the body through :class:`StrictRequest`.

    FastAPI alone would read and decode the body first. Dependencies with ``before_body`` are run ahead of it.
    A POST under an Idempotency-Key is answered once; the answer joins the request's transaction, which FastAPI
    commits after this handler has returned and before the first byte goes out.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        handle = super().get_route_handler()
        leased = is_two_step(self.endpoint)
        body_bytes: int = getattr(self.endpoint, _BODY_BYTES, CONTROL_BODY_BYTES)
        checks = [*_before_body(self.dependant)] if self.body_field or leased else []
        once = marked_members(self.response_model, SHOWN_ONCE)
        beta = marked_members(self.response_model, BETA)

        async def once_only(request: Request) -> Response:
            try:
                response = await handle(request)
            except Replayed as replayed:
                return _replay(replayed.answer)
            claim: _Claim | None = getattr(request.state, "claim", None)
            if claim is not None and _is_kept(response):
                now = resources_of(request).clock.now()
                await idempotency.remember(claim.tx, claim.call, _answer(response, once), now)
            return response

        async def strict(request: Request) -> Response:
            request = StrictRequest(request.scope, request.receive, body_bytes)
            for check in (*request.app.state.first_checks, *checks):
                await check(request)
            call = await asked_once(request) if leased else None
            if call is None:
                response = await once_only(request)
            else:
                response = await _in_two_steps(request, call, handle, once)
            return _in_asked_type(request, response, beta)

        return strict


def api_router(tag: str, *, prefix: str = "/api/v1") -> APIRouter:
    """Return the router of one feature: canonical prefix, one tag, strict JSON."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=StrictRoute)


def two_step(endpoint: Endpoint) -> Endpoint:
    """Mark an endpoint that talks to the network: its Idempotency-Key is held by a lease of a minute meanwhile.

    Such an endpoint asks for no ``RequestTx``; it opens its own short transactions before and after.
    """
    setattr(endpoint, _TWO_STEP, True)
    return endpoint


def takes_body(limit_bytes: int) -> Callable[[Endpoint], Endpoint]:
    """Let an endpoint take a larger body than the usual 1 MiB."""

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _BODY_BYTES, limit_bytes)
        return endpoint

    return mark


def is_two_step(endpoint: Callable[..., Any]) -> bool:
    """Tell whether an endpoint is marked by :func:`two_step`."""
    return getattr(endpoint, _TWO_STEP, False)


def takes_idempotency_key(route: APIRoute) -> bool:
    """Tell whether a POST under an Idempotency-Key happens once on this route."""
    return "POST" in (route.methods or ()) and (is_two_step(route.endpoint) or _opens_tx(route.dependant))


@dataclass(frozen=True, slots=True)
class _Claim:
    tx: Tx
    call: Call


async def asked_once(request: Request) -> Call | None:
    """Return the call under its Idempotency-Key; None without a key, or for a method that needs none."""
    if request.method != "POST":
        return None
    key = idempotency.read_key(request.headers.getlist("idempotency-key"))
    if key is None:
        return None
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    asked = idempotency.fingerprint(
        b"POST",
        request.scope["path"].encode(),
        request.scope["query_string"],
        media_type.encode(),
        await request.body(),
    )
    return Call(request.state.tenant, request.scope["route"].path, key, asked)


async def _in_two_steps(
    request: Request,
    call: Call,
    handle: Callable[[Request], Coroutine[Any, Any, Response]],
    once: tuple[Path, ...],
) -> Response:
    resources = resources_of(request)
    database, clock = resources.database, resources.clock
    try:
        until = await _lease(resources, call)
    except Replayed as replayed:
        return _replay(replayed.answer)
    kept: Answer | None = None
    try:
        response = await handle(request)
        kept = _answer(response, once) if _is_kept(response) else None
    finally:
        async with transaction.tenant_transaction(database, call.tenant) as tx:
            await idempotency.finish(tx, call, until, kept, clock.now())
    return response


async def _lease(resources: Resources, call: Call) -> datetime:
    """Claim the key and hold it by a lease; waits two seconds for a lease of another.

    Raises:
        Replayed: the call was answered.
        IdempotencyInProgress: it is still under way.
    """
    deadline = asyncio.get_running_loop().time() + idempotency.PATIENCE_SECONDS
    while True:
        with contextlib.suppress(IdempotencyInProgress):
            async with transaction.tenant_transaction(resources.database, call.tenant) as tx:
                now = resources.clock.now()
                answer = await idempotency.claim(tx, call, now)
                if answer is not None:
                    raise Replayed(answer)
                return await idempotency.lease(tx, call, now)
        if asyncio.get_running_loop().time() >= deadline:
            raise IdempotencyInProgress
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


def _is_kept(response: Response) -> bool:
    return 200 <= response.status_code < 300 and isinstance(getattr(response, "body", None), bytes)  # noqa: PLR2004 - success


def _answer(response: Response, once: tuple[Path, ...]) -> Answer:
    """Return what is stored of a response: all of it, but secrets shown once, cookies and the length."""
    body = bytes(response.body)
    if once and body:
        document = json.loads(body)
        if change_members(document, once, _blank):
            document["remark"] = "A secret that is shown once was in the first answer only."
            body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers]
    return Answer(
        response.status_code,
        tuple(pair for pair in headers if pair[0].lower() not in {"set-cookie", "content-length"}),
        body,
    )


def _replay(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    length = [pair for pair in response.raw_headers if pair[0] == b"content-length"]
    kept = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    response.raw_headers = [*kept, *length, (b"idempotency-replayed", b"true")]
    return response


def _in_asked_type(request: Request, response: Response, beta: tuple[Path, ...]) -> Response:
    """Give the answer the media type that was asked for; without the beta type, leave beta members out."""
    if response.headers.get("content-type") != JSON_TYPE:
        return response
    if getattr(request.state, "beta", False):
        response.headers["content-type"] = BETA_TYPE
    elif beta and response.body:
        document = json.loads(bytes(response.body))
        change_members(document, beta, dict.pop)
        response.body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
        response.headers["content-length"] = str(len(response.body))
    return response


def _blank(holder: dict[str, Any], member: str) -> None:
    holder[member] = None


def _before_body(dependant: Dependant) -> Iterator[Callable[[Request], Coroutine[Any, Any, Any]]]:
    for child in dependant.dependencies:
        if getattr(child.call, "before_body", False) and child.call is not None:
            yield child.call
        yield from _before_body(child)


def _opens_tx(dependant: Dependant) -> bool:
    return any(getattr(child.call, "claims", False) or _opens_tx(child) for child in dependant.dependencies)
