"""An Accept header that no representation satisfies is refused (RFC 9110 §12.5.1), on every control operation."""

from typing import Final

from fastapi import Request
from fastapi.routing import APIRoute

from guardhouse.foundation.errors import NotAcceptable
from guardhouse.foundation.request import StrictRoute
from guardhouse.http.parameters import LENIENT_TAGS

JSON: Final = "application/json"


async def refuse_unacceptable(request: Request) -> None:
    """Compare the Accept header with what the operation gives out.

    Raises:
        NotAcceptable: none of the ranges covers it.
    """
    accepted = request.headers.get("accept", "")
    route = request.scope.get("route")
    if accepted in {"", "*/*"} or not isinstance(route, StrictRoute) or LENIENT_TAGS.intersection(route.tags):
        return
    given = _media_type(route)
    if not any(_covers(part, given) for part in accepted.lower().split(",")):
        raise NotAcceptable(f"This operation answers with {given}.", supported=[given])


def _media_type(route: APIRoute) -> str:
    return getattr(route.response_class, "media_type", None) or JSON


def _covers(part: str, given: str) -> bool:
    media_range, *parameters = (piece.strip() for piece in part.split(";"))
    if any(p.startswith("q=") and not p[2:].strip("0.") for p in parameters):
        return False  # q=0: not this one
    return media_range in {"*/*", given, given.partition("/")[0] + "/*"}
