"""What a route may ask of a request: the shared Resources and Tx, the request's transaction.

Tx commits *before* the response starts (``scope="function"``): a failed commit is a refusal and never a
false success, and a stream starts with its transaction closed.
"""

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, Final, NoReturn

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection

from guardhouse.foundation import transaction
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import (
    BodyTooLarge,
    InvalidJson,
    InvalidText,
    RequestTimeout,
    UnsupportedMediaType,
)
from guardhouse.foundation.pages import DEFAULT_LIMIT, MAX_LIMIT, CursorSigner, Page, bind
from guardhouse.foundation.resources import Resources

CONTROL_BODY_BYTES: Final = 1 << 20
BODY_SECONDS: Final = 30
MAX_DEPTH: Final = 64
MAX_MEMBERS: Final = 10_000
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


def resources_of(connection: HTTPConnection) -> Resources:
    """Return the Resources of the application that serves this connection."""
    found: Resources = connection.app.state.resources
    return found


async def open_tx(request: Request) -> AsyncIterator[Tx]:
    """Open the transaction of a request whose caller is known; its tenant is the caller's."""
    tenant: TenantKey = (
        request.state.tenant
    )  # set by identity.caller; absent = a route without a Caller, a bug
    async with transaction.tenant_transaction(resources_of(request).database, tenant) as tx:
        yield tx


def tenant_transaction(resources: Resources, tenant: TenantKey) -> AbstractAsyncContextManager[Tx]:
    """Open a transaction at a place of the handler's own choosing, for doors that answer from inside it."""
    return transaction.tenant_transaction(resources.database, tenant)


def system_transaction(resources: Resources) -> AbstractAsyncContextManager[Tx]:
    """Open a transaction before the tenant is known: sign-in, health, the platform's own reads."""
    return transaction.system_transaction(resources.database)


def page_of(
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
Shared = Annotated[Resources, Depends(resources_of)]
RequestTx = Annotated[Tx, Depends(open_tx, scope="function")]


class StrictRequest(Request):
    """A request whose body is RFC 8259 to the letter: UTF-8, no NaN, bounded in size, depth and pace."""

    async def body(self) -> bytes:
        """Return the body, refused past 1 MiB while it is still being read.

        Raises:
            BodyTooLarge: over the limit.
            RequestTimeout: half a minute without a byte.
            UnsupportedMediaType: not ``application/json`` in UTF-8.
        """
        if not hasattr(self, "_body"):
            declared = self.headers.get("content-length", "")
            if declared.isdecimal() and int(declared) > CONTROL_BODY_BYTES:
                raise _too_large()
            self._body = await self._read()
            if self._body:
                _check_media_type(self.headers.get("content-type", ""))
        return self._body

    async def _read(self) -> bytes:
        chunks, size = [], 0
        try:
            async with asyncio.timeout(BODY_SECONDS) as patience:
                async for chunk in self.stream():
                    size += len(chunk)
                    if size > CONTROL_BODY_BYTES:
                        raise _too_large()
                    chunks.append(chunk)
                    patience.reschedule(asyncio.get_running_loop().time() + BODY_SECONDS)
        except TimeoutError:
            raise RequestTimeout(f"No byte of the body came for {BODY_SECONDS} seconds.") from None
        return b"".join(chunks)

    async def json(self) -> Any:
        """Return the decoded body.

        Raises:
            InvalidJson: not UTF-8, not JSON, NaN or Infinity, deeper than 64 levels, over 10,000 members.
            InvalidText: a text holds NUL or an unpaired surrogate, which PostgreSQL cannot store.
        """
        body = await self.body()
        try:
            value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
        except json.JSONDecodeError as error:
            raise InvalidJson(f"{error.msg} at line {error.lineno}, column {error.colno}.") from None
        except (UnicodeDecodeError, ValueError, RecursionError) as error:
            raise InvalidJson(f"The body is not JSON: {error}.") from None
        _check_shape(value)
        return value


class StrictRoute(APIRoute):
    """A route that judges the caller before it reads the body, and the body through :class:`StrictRequest`.

    FastAPI alone would read and decode the body first. Dependencies with ``before_body`` are run ahead of it.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        handle = super().get_route_handler()
        checks = [*_before_body(self.dependant)] if self.body_field else []

        async def strict(request: Request) -> Response:
            request = StrictRequest(request.scope, request.receive)
            for check in checks:
                await check(request)
            return await handle(request)

        return strict


def api_router(tag: str, *, prefix: str = "/api/v1") -> APIRouter:
    """Return the router of one feature: canonical prefix, one tag, strict JSON."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=StrictRoute)


def _too_large() -> BodyTooLarge:
    return BodyTooLarge("The body is larger than 1 MiB.", limit_bytes=CONTROL_BODY_BYTES)


def _check_media_type(given: str) -> None:
    media_type, _, parameters = (part.strip().lower() for part in given.partition(";"))
    charset = parameters.partition("charset=")[2].strip('" ')
    if media_type != "application/json" or charset not in {"", "utf-8", "utf8"}:
        said = given[:100] or "A body without a Content-Type"
        raise UnsupportedMediaType(f"{said} is not read here.", supported=["application/json"])


def _before_body(dependant: Dependant) -> Iterator[Callable[[Request], Coroutine[Any, Any, Any]]]:
    for child in dependant.dependencies:
        if getattr(child.call, "before_body", False) and child.call is not None:
            yield child.call
        yield from _before_body(child)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is beyond what a number can be")
    return number


def _check_shape(value: Any) -> None:
    layer, level = [value], 1
    while layer:
        below: list[Any] = []
        for item in layer:
            if isinstance(item, (dict, list)):
                if level > MAX_DEPTH:
                    raise InvalidJson(f"The body is nested deeper than {MAX_DEPTH} levels.")
                if isinstance(item, dict):
                    if len(item) > MAX_MEMBERS:
                        raise InvalidJson(f"An object in the body has more than {MAX_MEMBERS} members.")
                    below += item
                    below += item.values()
                else:
                    below += item
            elif isinstance(item, str) and _UNSTORABLE.search(item):
                raise InvalidText("A text in the body holds NUL or an unpaired surrogate.")
        layer, level = below, level + 1
