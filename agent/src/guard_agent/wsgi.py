"""The middleware of `guard_agent.middleware` for WSGI: Flask's `wsgi_app`, Django's WSGI application, any other."""

import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any

from guard_agent._web.front import MiddlewareFront
from guard_agent._web.guard import Guard
from guard_agent._web.refusal_answer import body_of, headers_of
from guard_agent._web.request_guard import RequestGuard, current_request
from guard_agent.enforce import Refusal

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], Any]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]


class GuardWSGIMiddleware(MiddlewareFront):
    """Reports security events and metrics of a WSGI application, and applies dynamic rules before it.

    The arguments are those of `MiddlewareFront`; `route_of` and `client_ip` get the environment. The agent starts with
    the first request, which is in the worker process where a server forks, and drains when the process ends.
    """

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        path = _path(environ)
        if self.guard.is_excluded(path):
            untouched: Iterable[bytes] = self.app(environ, start_response)
            return untouched
        begun = time.perf_counter()
        request = _request(self.guard, environ, path)
        refusal = self.guard.refuse(request, environ.get("QUERY_STRING", ""))
        if refusal is not None:
            return _refuse(start_response, refusal)
        answer = _Answer(self.guard, request, environ, begun)

        def watch(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], Any]:
            answer.status = int(status[:3])
            answer.route = _route(environ)  # Flask forgets its request before the answer is read
            write = start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

            def counted(data: bytes) -> Any:
                answer.sent_bytes += len(data)
                return write(data)

            return counted

        token = current_request.set(request)
        try:
            answer.pieces = self.app(environ, watch)
        except Exception as error:
            answer.fail(error)
            raise
        finally:
            current_request.reset(token)
        return answer


class _Answer:
    """The iterable that the server gets: reports once, when the server closes it."""

    def __init__(self, guard: Guard, request: RequestGuard, environ: Environ, begun: float) -> None:
        self.status = 0
        self.sent_bytes = 0
        self.route: str | None = None
        self.pieces: Iterable[bytes] = ()
        self._guard = guard
        self._request = request
        self._environ = environ
        self._begun = begun
        self._told = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            for piece in self.pieces:
                self.sent_bytes += len(piece)
                yield piece
        except Exception as error:
            self.fail(error)
            raise

    def close(self) -> None:
        """Close what the application returned, and report."""
        try:
            if hasattr(self.pieces, "close"):
                self.pieces.close()
        finally:
            if not self._told and self.status:
                self._told = True
                self._guard.answered(
                    self._request,
                    self._environ,
                    self.status,
                    self.sent_bytes,
                    time.perf_counter() - self._begun,
                    self.route,
                )

    def fail(self, error: Exception) -> None:
        """Report an exception of the application."""
        self._told = True
        seconds = time.perf_counter() - self._begun
        self._guard.failed(self._request, self._environ, error, seconds, self.route)


def _path(environ: Environ) -> str:
    """Return the path as text: WSGI hands its bytes over as Latin-1 (PEP 3333)."""
    raw: str = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return raw if raw.isascii() else raw.encode("latin-1", "replace").decode("utf-8", "replace")


def _request(guard: Guard, environ: Environ, path: str) -> RequestGuard:
    def header(name: str) -> str | None:
        return environ.get(f"HTTP_{name.upper().replace('-', '_')}")

    request = guard.request(environ, environ.get("REMOTE_ADDR", ""), header, environ["REQUEST_METHOD"], path)
    environ["guard_agent.request"] = request
    return request


def _route(environ: Environ) -> str | None:
    """Return the template of the rule that Werkzeug (Flask) found, None elsewhere."""
    rule = getattr(getattr(environ.get("werkzeug.request"), "url_rule", None), "rule", None)
    return None if rule is None else environ.get("SCRIPT_NAME", "") + str(rule)


def _refuse(start_response: StartResponse, refusal: Refusal) -> list[bytes]:
    body = body_of(refusal)
    start_response(f"{refusal.status} {HTTPStatus(refusal.status).phrase}", headers_of(refusal, body))
    return [body]
