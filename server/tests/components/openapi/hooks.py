"""What schemathesis is told of this API; it imports this module by name (see fuzz.py)."""

import json
from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def write_lines(_context: Any, value: Any) -> bytes:
    """Return one line per event of a batch."""
    lines = value.get("events", [value]) if isinstance(value, dict) else [value]
    return b"\n".join(json.dumps(line).encode() for line in (lines if isinstance(lines, list) else [lines]))


@schemathesis.hook
def before_load_schema(_context: Any, raw_schema: dict[str, Any]) -> None:
    """Leave cursors out: they are signed, and a made-up one is refused by design (http/test_parameters)."""
    for methods in raw_schema["paths"].values():
        for operation in methods.values():
            given = operation.get("parameters", [])
            operation["parameters"] = [p for p in given if (p["in"], p["name"]) != ("query", "cursor")]
