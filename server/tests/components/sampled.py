"""Bodies made from the schemas of the OpenAPI document: what is required, as small as it may be."""

from typing import Any

from guardhouse.scores.rules.wire import EXAMPLE
from server.tests.components.operations import Operation, document

# What a schema cannot say. An operation whose sampled body is refused gets an entry here.
BODIES: dict[str, dict[str, Any]] = {
    "set_rule": {"rule": EXAMPLE, "state": "active"},  # in shadow its answer would tell the time
    "apply_app_rules": {
        "operations": [{"op": "add", "rule": {"kind": "ban_net", "value": {"net": "203.0.113.8"}}}]
    },
    "preview_app_rules": {
        "operations": [{"op": "add", "rule": {"kind": "ban_net", "value": {"net": "203.0.113.8"}}}]
    },
    "create_app_rule": {"kind": "ban_net", "value": {"net": "203.0.113.7"}},
    "create_calibration": {"from": "2026-01-01T00:00:00Z", "to": "2026-01-31T00:00:00Z"},
    "create_score_preview": {"override": {"rule_id": "exec_tmp", "weight": 1}},
    "create_issuer": {
        "name": "canary-a",
        "issuer": "https://issuer.example",
        "audience": "guardhouse",
        "role_map": {"staff": "viewer"},
    },
}
_PLAIN = {"boolean": False, "null": None}


def body_of(operation: Operation, ids: dict[str, str]) -> dict[str, Any] | None:
    """Return a body that the operation takes, or None when it takes none; ``ids`` fill members of their names."""
    described = operation.described.get("requestBody", {}).get("content", {}).get("application/json")
    if described is None:
        return None
    schema = _resolved(described["schema"])
    found = BODIES.get(operation.id) or sample(schema)
    body: dict[str, Any] = dict(found) if isinstance(found, dict) else {}
    return body | {name: ids[name] for name in schema.get("properties", {}) if name in ids}


def sample(schema: dict[str, Any]) -> Any:
    """Return a value of a schema."""
    schema = _resolved(schema)
    for name in ("examples", "enum"):
        if schema.get(name):
            return schema[name][0]
    for name in ("const", "default", "example"):
        if name in schema:
            return schema[name]
    return _plainest(schema)


def _plainest(schema: dict[str, Any]) -> Any:
    kind = schema.get("type")
    if kind == "object":
        return {name: sample(schema["properties"][name]) for name in schema.get("required", ())}
    if kind == "array":
        return [sample(schema.get("items", {}))] * schema.get("minItems", 0)
    if kind in {"integer", "number"}:
        return schema.get("minimum", 1)
    return _text(schema) if kind == "string" else _PLAIN.get(str(kind), "x")


def _text(schema: dict[str, Any]) -> str:
    known: dict[str, str] = {
        "uuid": "01990000-0000-7000-8000-000000000000",
        "date-time": "2026-01-01T00:00:00Z",
        "uri": "https://receiver.example/",
        "email": "someone@example.com",
    }
    least: int = schema.get("minLength", 1)
    return known.get(str(schema.get("format", "")), "x" * max(1, least))


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while True:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            schema = document()["components"]["schemas"][name]
        elif "anyOf" in schema or "oneOf" in schema:
            ways = schema.get("anyOf") or schema["oneOf"]
            schema = next((way for way in ways if way.get("type") != "null"), ways[0])
        elif len(schema.get("allOf", ())) == 1:
            schema = schema["allOf"][0]
        else:
            return schema
