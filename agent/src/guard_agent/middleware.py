"""One line that makes any ASGI or WSGI application report what happens to it, and apply the rules of the platform.

app.add_middleware(GuardMiddleware, config=AgentConfig(...))     # FastAPI, Starlette
application = wrap(application)                                  # Django, Flask's wsgi_app, any other
"""

import inspect
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from http import HTTPStatus
from typing import Any

from guard_agent._net.path_pattern import template_of
from guard_agent._web.front import MiddlewareFront
from guard_agent._web.guard import Guard
from guard_agent._web.refusal_answer import body_of, headers_of
from guard_agent._web.request_guard import RequestGuard, current_request
from guard_agent.app_lifespan import run_lifespan
from guard_agent.enforce import Refusal
from guard_agent.wsgi import GuardWSGIMiddleware

__all__ = ["GuardMiddleware", "GuardWSGIMiddleware", "wrap"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1


class GuardMiddleware(MiddlewareFront):
    """Reports security events and metrics of an ASGI application, and applies dynamic rules before it.

    The arguments are those of `MiddlewareFront`: `enforce`, `capture`, `trusted_proxies` and so on.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = scope["type"]
        if kind == "lifespan":
            await run_lifespan(self.app, scope, receive, send, self.guard)
        elif kind not in {"http", "websocket"} or self.guard.is_excluded(scope["path"]):
            await self.app(scope, receive, send)
        elif kind == "http":
            await self._serve_http(scope, receive, send)
        else:
            await self._serve_websocket(scope, receive, send)

    async def _serve_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        guard, root = self.guard, scope.get("root_path", "")
        request = _request(guard, scope, scope["method"])
        refusal = guard.refuse(request, scope.get("query_string", b"").decode("latin-1"))
        if refusal is not None:
            await _send_refusal(send, refusal, "http.response")
            return
        status, sent_bytes = 0, 0

        async def watch(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.body":
                sent_bytes += len(message.get("body", b""))
            elif message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        token = current_request.set(request)
        try:
            await self.app(scope, receive, watch)
        except Exception as error:
            guard.failed(request, scope, error, time.perf_counter() - begun, _route(scope, root))
            raise
        finally:
            current_request.reset(token)
        if status:
            guard.answered(
                request, scope, status, sent_bytes, time.perf_counter() - begun, _route(scope, root)
            )

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        guard, root = self.guard, scope.get("root_path", "")
        request = _request(guard, scope, "WEBSOCKET")
        refusal = guard.refuse(request, scope.get("query_string", b"").decode("latin-1"))
        if refusal is not None:
            await _refuse_websocket(scope, receive, send, refusal)
            return
        status, sent_bytes = 0, 0

        async def watch(message: Message) -> None:
            nonlocal status, sent_bytes
            kind = message["type"]
            if kind == "websocket.send":
                sent_bytes += len(message.get("bytes") or message.get("text") or "")
            elif kind == "websocket.accept":
                status = HTTPStatus.SWITCHING_PROTOCOLS
            elif kind == "websocket.close" and not status:
                status = (
                    HTTPStatus.FORBIDDEN
                )  # what the client of a handshake that is closed unanswered is told
            elif kind == "websocket.http.response.start":
                status = message["status"]
            await send(message)

        token = current_request.set(request)
        try:
            await self.app(scope, receive, watch)
        except Exception as error:
            guard.failed(request, scope, error, time.perf_counter() - begun, _route(scope, root))
            raise
        finally:
            current_request.reset(token)
        if status:
            guard.answered(
                request, scope, status, sent_bytes, time.perf_counter() - begun, _route(scope, root)
            )


def wrap(app: Any, **options: Any) -> "GuardMiddleware | GuardWSGIMiddleware":
    """Return `app` behind the middleware of its kind: ASGI where calling it gives a coroutine, else WSGI.

    `options` are those of `GuardMiddleware`.
    """
    called = app
    while isinstance(called, partial):
        called = called.func
    is_asgi = inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(type(called).__call__)
    return GuardMiddleware(app, **options) if is_asgi else GuardWSGIMiddleware(app, **options)


def _request(guard: Guard, scope: Scope, method: str) -> RequestGuard:
    """Return the request of a scope and leave it there for the application."""
    client = scope.get("client")

    def header(name: str) -> str | None:
        wanted = name.encode("ascii")
        values = [value for key, value in scope["headers"] if key == wanted]
        return b",".join(values).decode("latin-1") if values else None

    request = guard.request(scope, client[0] if client else "", header, method, scope["path"])
    scope["guard"] = request
    return request


def _route(scope: Scope, root_before: str) -> str | None:
    """Return the template of the route that took a request, None where the framework left no trace of one."""
    route = scope.get("route")
    template = getattr(route, "path_format", None) or getattr(route, "path", None)
    if isinstance(template, str):
        return f"{scope.get('root_path', '')[len(root_before) :]}{template}"
    if "endpoint" in scope:
        return template_of(scope["path"], scope.get("path_params") or {})
    return None


async def _send_refusal(send: Send, refusal: Refusal, prefix: str) -> None:
    body = body_of(refusal)
    headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers_of(refusal, body)]
    await send({"type": f"{prefix}.start", "status": refusal.status, "headers": headers})
    await send({"type": f"{prefix}.body", "body": body})


async def _refuse_websocket(scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
    """Answer a handshake with the refusal where the server can, else close it, which the client sees as 403."""
    await receive()  # websocket.connect
    if "websocket.http.response" in scope.get("extensions", {}):
        await _send_refusal(send, refusal, "websocket.http.response")
    else:
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": refusal.code})
