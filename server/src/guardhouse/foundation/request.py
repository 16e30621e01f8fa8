"""What a route may ask of a request: the shared Resources and Tx, the request's transaction.

Tx commits *before* the response starts (``scope="function"``): a failed commit is a refusal and never a
false success, and a stream starts with its transaction closed.
"""

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, NoReturn

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection

from guardhouse.foundation import transaction
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.errors import BodyTooLarge, InvalidJson, InvalidText
from guardhouse.foundation.pages import DEFAULT_LIMIT, MAX_LIMIT, CursorSigner, Page, bind
from guardhouse.foundation.resources import Resources

CONTROL_BODY_BYTES = 1 << 20
MAX_DEPTH = 64


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
    """A request whose JSON is RFC 8259 to the letter: UTF-8, no NaN, bounded in size and depth."""

    async def body(self) -> bytes:
        """Return the body, refused past 1 MiB while it is still being read.

        Raises:
            BodyTooLarge: over the limit.
        """
        if not hasattr(self, "_body"):
            declared = self.headers.get("content-length", "")
            if declared.isdigit() and int(declared) > CONTROL_BODY_BYTES:
                raise _too_large()
            chunks, size = [], 0
            async for chunk in self.stream():
                size += len(chunk)
                if size > CONTROL_BODY_BYTES:
                    raise _too_large()
                chunks.append(chunk)
            self._body = b"".join(chunks)
        return self._body

    async def json(self) -> Any:
        """Return the decoded body.

        Raises:
            InvalidJson: not UTF-8, not JSON, NaN or Infinity, or nested deeper than 64 levels.
            InvalidText: a text holds NUL or an unpaired surrogate, which PostgreSQL cannot store.
        """
        body = await self.body()
        try:
            value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            raise InvalidJson(f"{error.msg} at line {error.lineno}, column {error.colno}.") from None
        except (UnicodeDecodeError, ValueError, RecursionError) as error:
            raise InvalidJson(f"The body is not JSON: {error}.") from None
        if _deeper_than(value, MAX_DEPTH):
            raise InvalidJson(f"The body is nested deeper than {MAX_DEPTH} levels.")
        if b"\\u" in body and not _storable(value):
            raise InvalidText("A text in the body holds NUL or an unpaired surrogate.")
        return value


class StrictRoute(APIRoute):
    """A route that reads its body through :class:`StrictRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return strict


def api_router(tag: str, *, prefix: str = "/api/v1") -> APIRouter:
    """Return the router of one feature: canonical prefix, one tag, strict JSON."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=StrictRoute)


def _too_large() -> BodyTooLarge:
    return BodyTooLarge("The body is larger than 1 MiB.", limit_bytes=CONTROL_BODY_BYTES)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _storable(value: Any) -> bool:
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\\u0000" not in text


def _deeper_than(value: Any, levels: int) -> bool:
    layer = [value]
    while layer and levels >= 0:
        layer = [
            child
            for item in layer
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        levels -= 1
    return bool(layer)
