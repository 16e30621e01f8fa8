"""Refusals in the document: a schema per status with its codes, and on every operation the codes it can answer."""

from typing import Any, Final

from fastapi.routing import APIRoute

from guardhouse.foundation.errors import Problem, catalogue
from guardhouse.foundation.idempotency import (
    IdempotencyInProgress,
    IdempotencyKeyInvalid,
    IdempotencyKeyReused,
)
from guardhouse.foundation.marked_members import BETA
from guardhouse.foundation.problem_docs import CODES
from guardhouse.foundation.request import StrictRoute, takes_idempotency_key
from guardhouse.http.accept import BetaRequired
from guardhouse.http.kill_switch import OPEN_TAGS, is_of_the_platform, is_on_hold
from guardhouse.http.requirement import required
from guardhouse.identity import refusals

MEDIA_TYPE: Final = "application/problem+json"
_PROPERTIES: Final[dict[str, Any]] = {
    "type": {"type": "string", "format": "uri", "description": "The page that explains the code."},
    "title": {"type": "string"},
    "status": {"type": "integer"},
    "detail": {"type": "string"},
    "instance": {"type": "string", "format": "uri", "description": "This occurrence; the log has it too."},
    "code": {"type": "string"},
    "correlation_id": {"type": "string"},
    "remediation": {"type": "string"},
    "errors": {"type": "array", "items": {"$ref": "#/components/schemas/ProblemError"}, "maxItems": 100},
    "error_count": {"type": "integer", "description": "How many errors there are, listed or not."},
}
_REQUIRED: Final = ["type", "title", "status", "detail", "instance", "code", "correlation_id", "remediation"]
_ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "title": "ProblemError",
    "description": "One violation: `pointer` into the body, or `parameter` of the query.",
    "required": ["code", "detail"],
    "properties": {
        "pointer": {"type": "string"},
        "parameter": {"type": "string"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
    },
    "additionalProperties": True,
}
_ANY: Final = {
    400: ("invalid_request", "raw_key_in_url"),
    404: ("not_found",),
    405: ("method_not_allowed",),
    406: ("not_acceptable",),
    414: ("uri_too_long",),
    422: ("validation_failed", "unknown_parameter", "invalid_text"),
    429: ("rate_limit_exceeded", "quota_exceeded"),
    431: ("headers_too_large",),
    500: ("internal_error",),
    503: ("unavailable", "timeout"),
}
_BODY: Final = {
    400: ("invalid_json",),
    408: ("request_timeout",),
    413: ("body_too_large",),
    415: ("unsupported_media_type", "unsupported_coding"),
}
_BUILT_IN: Final = {"$ref": "#/components/schemas/HTTPValidationError"}  # FastAPI's, which nobody gets here
_KEYED: Final = (IdempotencyKeyInvalid, IdempotencyKeyReused, IdempotencyInProgress)


def problem_schemas(paths: dict[str, Any]) -> dict[str, Any]:
    """Return the component schemas: the general shape, and per status one with the codes operations name."""
    schemas: dict[str, Any] = {
        "Problem": _shape("Problem", "RFC 9457 problem details; extension members are top-level.", {}),
        "ProblemError": _ERROR,
    }
    by_status: dict[int, set[str]] = {}
    for operation in (operation for methods in paths.values() for operation in methods.values()):
        for status, response in operation["responses"].items():
            if CODES in response:
                by_status.setdefault(int(status), set()).update(response[CODES])
    for status, codes in sorted(by_status.items()):
        code = f"ProblemCode{status}"
        schemas[code] = {"type": "string", "title": code, "enum": sorted(codes)}
        schemas[f"Problem{status}"] = _shape(
            f"Problem{status}",
            f"A problem of status {status}.",
            {
                "status": {"type": "integer", "const": status},
                "code": {"$ref": f"#/components/schemas/{code}"},
            },
        )
    return schemas


def complete_responses(operation: dict[str, Any], route: APIRoute) -> None:
    """Give an operation every refusal it can answer, typed, with its codes."""
    responses = operation["responses"]
    statuses = {problem.code: problem.status for problem in catalogue()}
    codes = _promised(operation, route)
    for status, response in responses.items():
        if status.isdecimal() and int(status) >= 400:  # noqa: PLR2004 - refusals
            codes.setdefault(int(status), []).extend(response.get(CODES, ()))
    for status, named in codes.items():
        kept = sorted({code for code in named if statuses.get(code) == status})
        own = responses.get(str(status), {})
        other = {
            kind: content
            for kind, content in own.get("content", {}).items()
            if kind != MEDIA_TYPE and content.get("schema") != _BUILT_IN
        }
        responses[str(status)] = {
            "description": ", ".join(f"`{code}`" for code in kept),
            "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/Problem{status}"}}, **other},
            CODES: kept,
        }
        if status in {429, 503}:
            responses[str(status)]["headers"] = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
    operation["responses"] = dict(sorted(responses.items()))


def _shape(title: str, description: str, changed: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "title": title,
        "description": description,
        "required": _REQUIRED,
        "properties": _PROPERTIES | changed,
        "additionalProperties": True,
    }


def _promised(operation: dict[str, Any], route: APIRoute) -> dict[int, list[str]]:
    found = {status: list(codes) for status, codes in _ANY.items()}

    def add(codes: dict[int, tuple[str, ...]] | tuple[type[Problem], ...]) -> None:
        pairs = codes.items() if isinstance(codes, dict) else ((p.status, (p.code,)) for p in codes)
        for status, named in pairs:
            found.setdefault(status, []).extend(named)

    if operation.get(BETA):
        add((BetaRequired,))
    if any(parameter["name"] == "cursor" for parameter in operation.get("parameters", ())):
        add({400: ("invalid_cursor",)})
    if "requestBody" in operation:
        add(_BODY)
    if isinstance(route, StrictRoute) and takes_idempotency_key(route):
        add(_KEYED)
    if required(route.dependant) is not None:
        add(_of_callers())
    if not OPEN_TAGS.intersection(route.tags):
        add(
            {
                503: (() if is_of_the_platform(route) else ("hard_stop",))
                + (("safe_mode",) if is_on_hold(route) else ())
            }
        )
    return found


def _of_callers() -> tuple[type[Problem], ...]:
    """Return what a caller may be refused for whatever it calls: everything `identity.refusals` declares."""
    return tuple(
        problem
        for problem in catalogue()
        if problem.__module__ == refusals.__name__ and problem.code != "raw_key_in_url"
    )
