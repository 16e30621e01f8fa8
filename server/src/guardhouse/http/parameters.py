"""Query parameters that an operation does not have are refused, with the nearest name."""

import difflib
from collections.abc import Iterator
from typing import Final

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from guardhouse.foundation.errors import UnknownParameter

LENIENT_TAGS: Final = frozenset({"telemetry", "health"})


async def refuse_unknown_parameters(request: Request) -> None:
    """Compare the query with the operation's parameters.

    Raises:
        UnknownParameter: with each unknown name and the nearest known one.
    """
    route = request.scope.get("route")
    if not request.scope["query_string"] or not isinstance(route, APIRoute):
        return
    if LENIENT_TAGS.intersection(route.tags):
        return
    cache: dict[str, frozenset[str]] = request.app.state.parameter_names
    known = cache.get(route.unique_id)
    if known is None:
        known = cache[route.unique_id] = frozenset(_walk(route.dependant))
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        raise UnknownParameter(
            f"This operation has no parameter {unknown[0]}.",
            errors=[{"parameter": name, "code": "unknown", "detail": _near(name, known)} for name in unknown],
        )


def _near(name: str, known: frozenset[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else "known: " + (", ".join(sorted(known)) or "none")


def _walk(dependant: Dependant) -> Iterator[str]:
    for parameter in dependant.query_params:
        model = parameter.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            yield from model.model_fields
        else:
            yield parameter.alias
    for child in dependant.dependencies:
        yield from _walk(child)
