"""What every request asks for is asked on the event loop."""

import inspect
from collections.abc import Iterator

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from guardhouse.http.app import OPEN_ROUTERS, ROUTERS


def below(dependant: Dependant) -> Iterator[object]:
    for child in dependant.dependencies:
        yield child.call
        yield from below(child)


def test_no_dependency_is_a_plain_function() -> None:
    """FastAPI runs plain functions in a thread, a tenth of a millisecond and a switch away; classes are few."""
    asked = {
        call
        for router in (*ROUTERS, *OPEN_ROUTERS)
        for route in router.routes
        if isinstance(route, APIRoute)
        for call in below(route.dependant)
    }
    plain = {call for call in asked if inspect.isfunction(call) and not is_asynchronous(call)}
    assert asked
    assert not plain


def is_asynchronous(call: object) -> bool:
    return inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)
