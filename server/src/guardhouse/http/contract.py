"""The OpenAPI 3.1 document: FastAPI's, completed with what the house promises on every operation."""

from typing import Any, Final, cast

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.responses import JSONResponse

from guardhouse.foundation.body_docs import raw_body_schemas
from guardhouse.foundation.idempotency import MAX_KEY_LENGTH
from guardhouse.foundation.request import StrictRoute, takes_idempotency_key
from guardhouse.http.aliases import aliases_of
from guardhouse.http.openapi.enums import name_enums
from guardhouse.http.openapi.examples import example_of
from guardhouse.http.openapi.problems import complete_responses, problem_schemas
from guardhouse.http.openapi.tags import TAGS
from guardhouse.http.openapi.webhooks import webhook_schemas, webhooks
from guardhouse.http.requirement import required

router = APIRouter()

VERSION: Final = "3.1.0"
LICENSE: Final = {"name": "Apache License 2.0", "identifier": "Apache-2.0"}
SECURITY: Final[dict[str, Any]] = {
    "Signature": {
        "type": "http",
        "scheme": "signature",
        "description": "HTTP message signature of a host agent (RFC 9421, hmac-sha256, tag guardhouse-events).",
    },
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "Bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "gh_live_… key"},
    "Session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-gh_session",
        "description": "Session of a person, made by signing in (`gh_session` without TLS). A change also needs"
        " `X-Guardhouse-Console: 1`, sent by a page of this origin.",
    },
}
_WAYS: Final = ("ApiKey", "Bearer", "Session")
_IDEMPOTENCY_KEY: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Under one key the call happens once in 24 hours; a repeat gets the same answer.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_KEY_LENGTH,
        "pattern": "^[!-~]([ -~]*[!-~])?$",
    },
}
_HEADERS: Final[dict[str, Any]] = {
    "RetryAfter": {
        "description": "Seconds after which to try again.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "IdempotencyReplayed": {
        "description": "`true`: this is the answer that the first request under this key got.",
        "schema": {"type": "string", "const": "true"},
    },
}


@router.get("/api/v1/openapi.json", include_in_schema=False)
async def get_contract(request: Request) -> JSONResponse:
    """Serve the document."""
    return JSONResponse(document(cast("FastAPI", request.app)))


def document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the application, made once."""
    if app.openapi_schema is None:
        app.openapi_schema = _make(app)
    return app.openapi_schema


def _make(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version=VERSION,
        summary=app.summary,
        routes=app.routes,
        servers=[{"url": "/"}],
        license_info=LICENSE,
        separate_input_output_schemas=False,
    )
    components = made.setdefault("components", {})
    schemas: dict[str, Any] = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas |= raw_body_schemas() | webhook_schemas()
    components["schemas"] = schemas
    components["headers"] = _HEADERS
    components["securitySchemes"] = SECURITY
    _say_instants(schemas)
    for path, method, route in _routes(app):
        operation = made["paths"][path][method]
        _complete(operation, route, path)
        _add_example(operation, schemas)
    schemas |= problem_schemas(made["paths"])
    made["webhooks"] = webhooks()
    made["tags"] = [{"name": tag, "description": TAGS[tag]} for tag in TAGS if tag in _used_tags(made)]
    name_enums(made)
    return made


def _routes(app: FastAPI) -> list[tuple[str, str, APIRoute]]:
    found = []
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute) and route.include_in_schema:
            found += [(route.path_format, method.lower(), route) for method in sorted(route.methods or ())]
    return found


def _complete(operation: dict[str, Any], route: APIRoute, path: str) -> None:
    keyed = isinstance(route, StrictRoute) and takes_idempotency_key(route)
    if keyed:
        operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
        for status, response in operation["responses"].items():
            if status.startswith("2"):
                replayed = {"$ref": "#/components/headers/IdempotencyReplayed"}
                response.setdefault("headers", {})["Idempotency-Replayed"] = replayed
    complete_responses(operation, route)
    caller = required(route.dependant)
    if caller is not None:
        ways = [[scope] for scope in sorted(caller.scopes)] or [[]]
        operation.setdefault("security", [{name: way} for way in ways for name in _WAYS])
    aliases = [*operation.get("x-aliases", ()), *aliases_of(path)]
    if aliases:
        operation["x-aliases"] = list(dict.fromkeys(aliases))


def _add_example(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        if media_type == "application/json" and not {"example", "examples"} & content.keys():
            content["example"] = example_of(content["schema"], schemas)


def _say_instants(schemas: dict[str, Any]) -> None:
    """Say that members ending in ``_at`` are instants: they are RFC 3339 wherever they stand."""
    for schema in schemas.values():
        for name, member in schema.get("properties", {}).items():
            if name.endswith("_at"):
                for choice in (member, *member.get("anyOf", ())):
                    if choice.get("type") == "string":
                        choice.setdefault("format", "date-time")


def _used_tags(made: dict[str, Any]) -> set[str]:
    operations = [operation for methods in made["paths"].values() for operation in methods.values()]
    operations += [methods["post"] for methods in made["webhooks"].values()]
    return {tag for operation in operations for tag in operation.get("tags", ())}
