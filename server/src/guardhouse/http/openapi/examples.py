"""Examples of request bodies, made from their schemas: a test sends each of them and is not refused for its shape."""

from typing import Any, Final

_TEXTS: Final = {
    "uuid": "0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b10",
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "uri": "https://hooks.example.com/guardhouse",
    "email": "guard@example.com",
}
_PLAIN: Final[dict[str, Any]] = {
    "string": "example",
    "integer": 1,
    "number": 1.0,
    "boolean": True,
    "null": None,
}


def example_of(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """Return an example: the schema's own where it has one, else its required members and those with examples."""
    for given in ("example", "const", "default"):
        if given in schema:
            return schema[given]
    for several in ("examples", "enum"):
        if schema.get(several):
            return schema[several][0]
    for choice in ("oneOf", "anyOf", "allOf"):
        if choice in schema:
            return example_of(schema[choice][0], schemas)
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    return _by_type(schema, schemas)


def _by_type(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        wanted = set(schema.get("required", ()))
        members = schema.get("properties", {})
        return {
            name: example_of(member, schemas)
            for name, member in members.items()
            if name in wanted or member.get("examples")
        }
    if kind == "array":
        return [example_of(schema["items"], schemas)] if schema.get("minItems") else []
    if kind == "string":
        text = _TEXTS.get(schema.get("format", ""), "example")
        return text[: schema.get("maxLength", len(text))].ljust(schema.get("minLength", 0), "x")
    if kind in {"integer", "number"}:
        return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
    return _PLAIN.get(str(kind))
