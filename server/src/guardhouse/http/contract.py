"""The OpenAPI document: FastAPI's, completed with what the house promises on every operation."""

from typing import Any, cast

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.responses import JSONResponse

from guardhouse.foundation.body_docs import raw_body_schemas
from guardhouse.http.requirement import required
from guardhouse.identity.caller import Require

router = APIRouter()

PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457 problem details; extension members are top-level.",
    "required": ["type", "title", "status", "detail", "instance", "code", "correlation_id", "remediation"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri"},
        "code": {"type": "string"},
        "correlation_id": {"type": "string"},
        "remediation": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object", "additionalProperties": True}},
        "error_count": {"type": "integer"},
    },
    "additionalProperties": True,
}
_REFERENCE = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_VALIDATION = "422"  # FastAPI describes its own form of it, which never leaves the house
_EVERYWHERE = {
    "400": "`invalid_request`, `raw_key_in_url` or `invalid_cursor`",
    "404": "`not_found`",
    "405": "`method_not_allowed`",
    "406": "`not_acceptable`",
    "414": "`uri_too_long`",
    "422": "`validation_failed`, `unknown_parameter` or `invalid_text`",
    "431": "`headers_too_large`",
    "500": "`internal_error`",
    "503": "`unavailable`",
}
_WITH_BODY = {
    "400": "`invalid_request`, `invalid_json` or `raw_key_in_url`",
    "408": "`request_timeout`",
    "413": "`body_too_large`",
    "415": "`unsupported_media_type`",
}
_WITH_CALLER = {
    "401": "`api_key_missing`, `api_key_malformed`, `api_key_unknown`, `api_key_revoked`, `api_key_expired`, …",
    "403": "`scope_missing` or `tenant_suspended`",
}
SECURITY = {
    "Signature": {
        "type": "http",
        "scheme": "signature",
        "description": "HTTP message signature of a host agent (RFC 9421, hmac-sha256, tag guardhouse-events).",
    },
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "Bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "gh_live_… key"},
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
        summary=app.summary,
        routes=app.routes,
        separate_input_output_schemas=False,
    )
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = PROBLEM
    schemas.update(raw_body_schemas())
    components["securitySchemes"] = SECURITY
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                _complete(made["paths"][route.path_format][method.lower()], required(route.dependant))
    return made


def _complete(operation: dict[str, Any], caller: Require | None) -> None:
    promised = _EVERYWHERE | (_WITH_CALLER if caller else {})
    promised |= _WITH_BODY if "requestBody" in operation else {}
    responses = operation["responses"]
    for status, codes in promised.items():
        own = responses.get(status, {})
        if own.get("content") and status != _VALIDATION:
            own["description"] += f", {codes}"
            own["content"] |= _REFERENCE
        else:
            responses[status] = {"description": codes, "content": _REFERENCE}
    if caller is not None:
        ways = [[scope] for scope in sorted(caller.scopes)] or [[]]
        operation["security"] = [{name: way} for way in ways for name in ("ApiKey", "Bearer")]
    operation["responses"] = dict(sorted(responses.items()))
