"""Gives every enumeration in the document a name: generators call an inline one ``StatusType0`` and worse."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

_Place = tuple[dict[str, Any], str, str]  # the schema, the member it describes, whose member that is


def name_enums(document: dict[str, Any]) -> None:
    """Move each inline enumeration to the components, under its member's name where that is unambiguous."""
    schemas: dict[str, Any] = document["components"]["schemas"]
    places = [*_in_components(schemas), *_in_parameters(document["paths"])]
    by_member: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
    for schema, member, _ in places:
        by_member[member].add(tuple(schema["enum"]))
    for schema, member, owner in places:
        name = _pascal(member)
        if len(by_member[member]) > 1:
            name = owner + name
        if name in schemas and schemas[name].get("enum") != schema["enum"]:
            name = owner + name + "Value"
        kept = {key: value for key, value in schema.items() if key in {"type", "enum"}}
        own = {key: value for key, value in schema.items() if key not in {"type", "enum", "title"}}
        schemas[name] = kept | {"title": name}
        schema.clear()
        schema.update({"$ref": f"#/components/schemas/{name}"} | own)


def _in_components(schemas: dict[str, Any]) -> Iterator[_Place]:
    for owner in sorted(schemas):
        for member, schema in sorted(schemas[owner].get("properties", {}).items()):
            for found in _inline(schema):
                yield found, member, owner


def _in_parameters(paths: dict[str, Any]) -> Iterator[_Place]:
    for path in sorted(paths):
        for _, operation in sorted(paths[path].items()):
            for parameter in operation.get("parameters", ()):
                for found in _inline(parameter["schema"]):
                    yield found, parameter["name"], _pascal(operation["operationId"])


def _inline(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "enum" in schema:
            yield schema
            return
        for value in schema.values():
            yield from _inline(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _inline(value)


def _pascal(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.replace("-", "_").split("_"))
