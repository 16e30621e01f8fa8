"""How a body that a route reads by itself appears in the OpenAPI document: as a named schema, like any other."""

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

_REFERENCE: Final = "#/components/schemas/{model}"
_documented: dict[type[BaseModel], None] = {}


def raw_body(media: dict[str, tuple[type[BaseModel], ...]], description: str) -> dict[str, Any]:
    """Return ``openapi_extra`` for a body in these media types, each one of these models."""
    content = {}
    for media_type, models in media.items():
        _documented.update(dict.fromkeys(models))
        references = [{"$ref": _REFERENCE.format(model=model.__name__)} for model in models]
        content[media_type] = {"schema": references[0] if len(references) == 1 else {"oneOf": references}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


def raw_body_schemas() -> dict[str, Any]:
    """Return the component schemas that :func:`raw_body` has referred to."""
    _, made = models_json_schema([(model, "validation") for model in _documented], ref_template=_REFERENCE)
    schemas: dict[str, Any] = made.get("$defs", {})
    return schemas
