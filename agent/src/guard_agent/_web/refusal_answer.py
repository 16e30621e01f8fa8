"""What a refused request is told: a problem of RFC 9457."""

import json
from http import HTTPStatus

from guard_agent.enforce import Refusal


def body_of(refusal: Refusal) -> bytes:
    """Return the JSON of a refusal."""
    problem = {
        "type": "about:blank",
        "title": HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "detail": refusal.detail,
        "code": refusal.code,
    }
    return json.dumps(problem).encode()


def headers_of(refusal: Refusal, body: bytes) -> list[tuple[str, str]]:
    """Return the headers of a refusal, names in lower case; nothing may keep the answer."""
    headers = [
        ("content-type", "application/problem+json"),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
    ]
    if refusal.retry_after is not None:
        headers.append(("retry-after", str(refusal.retry_after)))
    return headers
