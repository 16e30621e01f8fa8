"""How an operation's refusals appear in the OpenAPI document."""

from typing import Any, Final

from guardhouse.foundation.errors import Problem

CODES: Final = "x-problem-codes"


def refusals(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI ``responses`` for these problems, merged by status, with their codes.

    The contract adds what any operation may answer, and a schema per status.
    """
    by_status: dict[int | str, dict[str, Any]] = {}
    for problem in sorted(problems, key=lambda p: (p.status, p.code)):
        entry = by_status.setdefault(problem.status, {"description": "", CODES: []})
        entry[CODES].append(problem.code)
        entry["description"] = ", ".join(f"`{code}`" for code in entry[CODES])
    return by_status
