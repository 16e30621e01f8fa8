"""How an operation's refusals appear in the OpenAPI document."""

from typing import Any

from guardhouse.foundation.errors import Problem


def refusals(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI ``responses`` for these problems, merged by status, codes listed."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for problem in sorted(problems, key=lambda p: (p.status, p.code)):
        entry = by_status.setdefault(
            problem.status,
            {
                "description": "",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        )
        entry["description"] = ", ".join(filter(None, [entry["description"], f"`{problem.code}`"]))
    return by_status
