"""What an Accept header asks for: representations by quality, and the beta media type that opens what is new.

An Accept header that nothing satisfies is refused (RFC 9110 §12.5.1), on every control operation.
"""

from collections.abc import Sequence
from typing import Final

from fastapi import Request
from fastapi.routing import APIRoute

from guardhouse.foundation.errors import NotAcceptable, Problem
from guardhouse.foundation.marked_members import BETA
from guardhouse.foundation.request import BETA_TYPE, JSON_TYPE, StrictRoute
from guardhouse.http.parameters import LENIENT_TAGS

_WEIGHTS: Final = 3  # digits after the point that a quality may have


class BetaRequired(Problem):
    """This operation is in beta: its shape may still change."""

    status, code, title = 406, "beta_required", "Beta required"
    remediation = f"Send `Accept: {BETA_TYPE}`, and expect changes."


async def refuse_unacceptable(request: Request) -> None:
    """Compare the Accept header with what the operation gives out, and note whether it asks for beta.

    Raises:
        NotAcceptable: none of the ranges covers it.
        BetaRequired: the operation is in beta and the header does not ask for that.
    """
    route = request.scope.get("route")
    if not isinstance(route, StrictRoute) or LENIENT_TAGS.intersection(route.tags):
        return
    accepted = ",".join(request.headers.getlist("accept"))
    given = _media_type(route)
    beta = given == JSON_TYPE and asks_for_beta(accepted)
    request.state.beta = beta
    if (route.openapi_extra or {}).get(BETA) and not beta:
        raise BetaRequired("This operation is in beta.", supported=[BETA_TYPE])
    if not beta and accepted not in {"", "*/*"} and quality(accepted, given) == 0:
        supported = [given, BETA_TYPE] if given == JSON_TYPE else [given]
        raise NotAcceptable(f"This operation answers with {given}.", supported=supported)


def asks_for_beta(accepted: str) -> bool:
    """Tell whether the beta type is named, and is no less welcome than plain JSON."""
    named = [weight for media_range, weight in _ranges(accepted) if media_range == BETA_TYPE]
    return bool(named) and max(named) > 0 and max(named) >= quality(accepted, JSON_TYPE)


def best(accepted: str, offers: Sequence[str]) -> str | None:
    """Return the most welcome of the offers, the first among equals; None when none is welcome."""
    if not accepted.strip():
        return offers[0]
    weights = [quality(accepted, offer) for offer in offers]
    return offers[weights.index(max(weights))] if max(weights) > 0 else None


def quality(accepted: str, offer: str) -> float:
    """Return how welcome a media type is, 0..1; the most specific range that covers it decides."""
    found: tuple[int, float] = (-1, 0.0)
    for media_range, weight in _ranges(accepted):
        if media_range == offer:
            found = max(found, (2, weight))
        elif media_range == offer.partition("/")[0] + "/*":
            found = max(found, (1, weight))
        elif media_range == "*/*":
            found = max(found, (0, weight))
    return found[1]


def _ranges(accepted: str) -> list[tuple[str, float]]:
    found = []
    for part in accepted.lower().split(","):
        media_range, *parameters = (piece.strip() for piece in part.split(";"))
        named = [p.removeprefix("q=") for p in parameters if p.startswith("q=")]
        found.append((media_range, _weight(named[0]) if named else 1.0))
    return found


def _weight(text: str) -> float:
    whole, _, places = text.partition(".")
    if whole not in {"0", "1"} or len(places) > _WEIGHTS or not f"0{places}".isdecimal():
        return 0.0  # not a quality (RFC 9110 §12.4.2): nothing is promised by it
    return min(float(text), 1.0)


def _media_type(route: APIRoute) -> str:
    return getattr(route.response_class, "media_type", None) or JSON_TYPE
