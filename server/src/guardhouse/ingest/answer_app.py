"""What the doors for in-app agents share: the key of a request, and the form of the answer."""

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from guardhouse.ingest import replay
from guardhouse.ingest.wire import AppAnswer

JSON: Final = "application/json"


def app_key(request: Request, content: bytes) -> str | None:
    """Return the Idempotency-Key of a request; app batches need none.

    Raises:
        IdempotencyKeyInvalid: it is not 1 to 255 printable ASCII characters.
    """
    key = request.headers.get("idempotency-key")
    return None if key is None else replay.batch_key(key, None, content, legacy=False).key


def answer_app(answer: AppAnswer, *, replayed: bool) -> Response:
    """Return the answer 200 that clients know."""
    headers = {"Idempotency-Replayed": "true"} if replayed else None
    return Response(msgspec.json.encode(answer), media_type=JSON, headers=headers)
