"""What the platform sends: one webhook per kind of notice, from the same models that publish it."""

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from guardhouse.notices.kind import NoticeData
from guardhouse.notices.kinds import KINDS

_REFERENCE: Final = "#/components/schemas/{model}"
_EXAMPLE_TIME: Final = "2026-01-01T00:00:00.000Z"


def webhook_schemas() -> dict[str, Any]:
    """Return the component schemas of every kind's data and message."""
    models = _sent().values()
    _, made = models_json_schema([(model, "validation") for model in models], ref_template=_REFERENCE)
    schemas: dict[str, Any] = made.get("$defs", {})
    for kind, model in _sent().items():
        schemas[f"{model.__name__}Message"] = {
            "type": "object",
            "title": f"{model.__name__}Message",
            "description": f"The body of `{kind}` (Standard Webhooks).",
            "required": ["type", "timestamp", "data"],
            "properties": {
                "type": {"type": "string", "const": kind},
                "timestamp": {"type": "string", "format": "date-time"},
                "data": {"$ref": _REFERENCE.format(model=model.__name__)},
            },
        }
    return schemas


def webhooks() -> dict[str, Any]:
    """Return the ``webhooks`` section."""
    return {kind: {"post": _operation(kind, model)} for kind, model in _sent().items()}


def _sent() -> dict[str, type[NoticeData]]:
    return {kind: model for kind, model in sorted(KINDS.items()) if not model.live_only}


def _operation(kind: str, model: type[NoticeData]) -> dict[str, Any]:
    reference = {"$ref": _REFERENCE.format(model=f"{model.__name__}Message")}
    example = {"type": kind, "timestamp": _EXAMPLE_TIME, "data": dict(model.example)}
    return {
        "operationId": "receive_" + kind.replace(".", "_"),
        "summary": kind,
        "description": (model.__doc__ or kind).partition("\n")[0],
        "tags": ["webhooks"],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": reference, "example": example}},
        },
        "responses": {
            "2XX": {"description": "Delivered."},
            "410": {"description": "The endpoint is disabled."},
        },
    }
