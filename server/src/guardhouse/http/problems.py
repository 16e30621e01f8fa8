"""Every refusal and every fault leaves here as RFC 9457 problem+json; a fault says nothing of its text."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

from guardhouse.foundation import correlation, logs
from guardhouse.foundation.errors import (
    InvalidJson,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Problem,
    ValidationFailed,
)
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.request import resources_of
from guardhouse.identity import key_format

MEDIA_TYPE = "application/problem+json"
_log = logs.get(__name__)


class InternalError(Problem):
    """A fault of ours; the log has it under the instance."""

    def __init__(self) -> None:
        super().__init__("The server made a mistake; nothing of this request was stored.")


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)


def render(problem: Problem, *, public_url: str) -> Response:
    """Return the response for a problem; 5xx are logged with their instance."""
    instance = f"urn:uuid:{new_id()}"
    if problem.status >= 500:  # noqa: PLR2004 - server errors
        _log.warning("request_failed", code=problem.code, instance=instance, detail=problem.detail)
    body = problem.body(public_url=public_url, instance=instance, correlation_id=correlation.current())
    return Response(
        key_format.hide_keys(msgspec.json.encode(body)),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=problem.headers_at(public_url),
    )


def from_validation(errors: Sequence[Mapping[str, Any]], shape: Any = None) -> Problem:
    """Translate FastAPI's list of violations; ``shape`` is the body's model, for "did you mean"."""
    missing_body = [e for e in errors if e["type"] == "missing" and tuple(e["loc"]) == ("body",)]
    if missing_body:
        return InvalidJson("The body is empty; this operation takes a JSON object.")
    broken = [e for e in errors if e["type"] == "json_invalid"]
    if broken:
        return InvalidJson(str(broken[0].get("ctx", {}).get("error", "The body is not JSON.")))
    return ValidationFailed(
        f"{len(errors)} member{'s are' if len(errors) != 1 else ' is'} wrong.",
        errors=[_violation(error, shape) for error in errors],
    )


def _violation(error: Mapping[str, Any], shape: Any) -> dict[str, Any]:
    place, *path = error["loc"]
    detail = str(error["msg"])
    if error["type"] == "extra_forbidden" and path:
        near = difflib.get_close_matches(str(path[-1]), _members(shape, path[:-1]), n=1)
        detail = f"unknown member; did you mean {near[0]}?" if near else "unknown member"
    pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
    where = {"pointer": pointer} if place == "body" else {"parameter": str(path[0]) if path else place}
    return {**where, "code": str(error["type"]), "detail": detail}


def allowed_methods(routes: Sequence[BaseRoute], scope: Mapping[str, Any]) -> list[str]:
    """Return every method that some route has for this path, HEAD wherever GET.

    A path that is spelt out somewhere is that one alone, and no id of the routes with ``{id}`` beside it.
    """
    found: set[str] = set()
    spelt_out: set[str] = set()
    for context in iter_route_contexts(routes):
        route = context.original_route
        matched, _ = route.matches({**scope, "method": "\0"})
        if matched is Match.PARTIAL:
            methods = getattr(route, "methods", None) or set()
            found |= methods
            spelt_out |= methods if getattr(route, "path", None) == scope["path"] else set()
    found = spelt_out or found
    if "GET" in found:
        found.add("HEAD")
    return sorted(found)


async def refuse_wrong_method(request: Request) -> None:
    """Refuse a method that a spelt-out path does not have, where a route with ``{id}`` would take its name for an id.

    Raises:
        MethodNotAllowed: as said.
    """
    if "{" in request.scope["route"].path and request.scope["path"] in spelt_out_paths(request.app):
        raise _not_allowed(request)


def spelt_out_paths(app: FastAPI) -> frozenset[str]:
    """Return the paths without parameters, found once."""
    known: frozenset[str] | None = getattr(app.state, "spelt_out_paths", None)
    if known is None:
        paths = {getattr(c.original_route, "path", "{") for c in iter_route_contexts(app.routes)}
        known = app.state.spelt_out_paths = frozenset(path for path in paths if "{" not in path)
    return known


def _not_allowed(request: Request) -> MethodNotAllowed:
    allow = allowed_methods(request.app.routes, request.scope)
    return MethodNotAllowed(f"{request.method} is not possible here.", headers={"Allow": ", ".join(allow)})


async def _on_problem(request: Request, error: Exception) -> Response:
    return render(cast("Problem", error), public_url=resources_of(request).settings.public_url)


async def _on_validation(request: Request, error: Exception) -> Response:
    failure = cast("RequestValidationError", error)
    problem = from_validation(failure.errors(), _body_shape(request))
    return render(problem, public_url=resources_of(request).settings.public_url)


async def _on_http(request: Request, error: Exception) -> Response:
    failure = cast("HTTPException", error)
    problem: Problem
    if isinstance(failure.__cause__, Problem):
        problem = failure.__cause__  # FastAPI wraps what reading the body raised
    elif failure.status_code == NotFound.status:
        problem = NotFound()
    elif failure.status_code == MethodNotAllowed.status:
        problem = _not_allowed(request)
    else:
        problem = InvalidRequest(str(failure.detail))
    return render(problem, public_url=resources_of(request).settings.public_url)


async def _on_disconnect(_request: Request, _error: Exception) -> Response:
    return Response(status_code=InvalidRequest.status)  # nobody reads it


def _body_shape(request: Request) -> Any:
    field = getattr(request.scope.get("route"), "body_field", None)
    return getattr(getattr(field, "field_info", None), "annotation", None)


def _members(shape: Any, path: Sequence[object]) -> list[str]:
    """Return the member names of the model that a path leads to, through lists and unions."""
    if isinstance(shape, type) and issubclass(shape, BaseModel):
        if not path:
            return [field.alias or name for name, field in shape.model_fields.items()]
        head, *rest = path
        inside = {field.alias or name: field.annotation for name, field in shape.model_fields.items()}
        return _members(inside[str(head)], rest) if str(head) in inside else _members(shape, rest)
    found = []
    for part in get_args(shape):
        found += _members(part, path[1:] if path and isinstance(path[0], int) else path)
    return found
