"""Reads a control request's body to the letter of RFC 8259: UTF-8, no NaN, bounded in size, depth and pace."""

import asyncio
import json
import math
import re
from typing import Any, Final, NoReturn

from starlette.requests import Request
from starlette.types import Receive, Scope

from guardhouse.foundation.errors import (
    BodyTooLarge,
    InvalidJson,
    InvalidText,
    RequestTimeout,
    UnsupportedCoding,
    UnsupportedMediaType,
)
from guardhouse.foundation.json_place import Place, first_constant, first_too_deep, first_too_wide, place_at

CONTROL_BODY_BYTES: Final = 1 << 20
BODY_SECONDS: Final = 30
MAX_DEPTH: Final = 64
MAX_MEMBERS: Final = 10_000
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


class StrictRequest(Request):
    """A request whose body is judged while it is read; it has at most ``limit_bytes``."""

    def __init__(self, scope: Scope, receive: Receive, limit_bytes: int = CONTROL_BODY_BYTES) -> None:
        super().__init__(scope, receive)
        self.limit_bytes = limit_bytes

    async def body(self) -> bytes:
        """Return the body, refused past the limit while it is still being read.

        Raises:
            BodyTooLarge: over the limit.
            RequestTimeout: half a minute without a byte.
            UnsupportedCoding: compressed; only telemetry may be.
            UnsupportedMediaType: not ``application/json`` in UTF-8.
        """
        if not hasattr(self, "_body"):
            declared = self.headers.get("content-length", "")
            if declared.isdecimal() and int(declared) > self.limit_bytes:
                raise _too_large(self.limit_bytes)
            self._body = await self._read()
            if self._body:
                _check_coding(self.headers.get("content-encoding", ""))
                _check_media_type(self.headers.get("content-type", ""))
        return self._body

    async def _read(self) -> bytes:
        chunks, size = [], 0
        try:
            async with asyncio.timeout(BODY_SECONDS) as patience:
                async for chunk in self.stream():
                    size += len(chunk)
                    if size > self.limit_bytes:
                        raise _too_large(self.limit_bytes)
                    chunks.append(chunk)
                    patience.reschedule(asyncio.get_running_loop().time() + BODY_SECONDS)
        except TimeoutError:
            raise RequestTimeout(f"No byte of the body came for {BODY_SECONDS} seconds.") from None
        return b"".join(chunks)

    async def json(self) -> Any:
        """Return the decoded body.

        Raises:
            InvalidJson: not UTF-8, not JSON, NaN or Infinity, deeper than 64 levels, over 10,000 members.
            InvalidText: a text holds NUL or an unpaired surrogate, which PostgreSQL cannot store.
        """
        return decode(await self.body())


def decode(body: bytes) -> Any:
    """Return the value of a JSON text, refused with its place when it breaks a rule.

    Raises:
        InvalidJson: as :meth:`StrictRequest.json`.
        InvalidText: likewise.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        before = body[: error.start].decode("utf-8")
        raise _invalid("The body is not UTF-8", place_at(before, len(before))) from None
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise _invalid(error.msg, Place(error.lineno, error.colno)) from None
    except RecursionError:
        raise _too_deep(text) from None
    except ValueError:
        raise _invalid("This is no number that JSON has", first_constant(text)) from None
    _check_shape(value, text)
    return value


def _too_large(limit_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limit_bytes >> 20} MiB.", limit_bytes=limit_bytes)


def _invalid(sentence: str, place: Place) -> InvalidJson:
    return InvalidJson(
        f"{sentence}: line {place.line}, column {place.column}.", line=place.line, column=place.column
    )


def _too_deep(text: str) -> InvalidJson:
    return _invalid(f"The body is nested deeper than {MAX_DEPTH} levels", first_too_deep(text, MAX_DEPTH))


def _check_coding(given: str) -> None:
    if given.strip().lower() not in {"", "identity"}:
        raise UnsupportedCoding("Only telemetry may be compressed.", supported=["identity"])


def _check_media_type(given: str) -> None:
    media_type, _, parameters = (part.strip().lower() for part in given.partition(";"))
    charset = parameters.partition("charset=")[2].strip('" ')
    if media_type != "application/json" or charset not in {"", "utf-8", "utf8"}:
        said = given[:100] or "A body without a Content-Type"
        raise UnsupportedMediaType(f"{said} is not read here.", supported=["application/json"])


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(text[:40])
    return number


def _check_shape(value: Any, text: str) -> None:
    layer, level = [value], 1
    while layer:
        below: list[Any] = []
        for item in layer:
            if isinstance(item, (dict, list)):
                if level > MAX_DEPTH:
                    raise _too_deep(text)
                if isinstance(item, dict):
                    if len(item) > MAX_MEMBERS:
                        sentence = f"An object in the body has more than {MAX_MEMBERS} members"
                        raise _invalid(sentence, first_too_wide(text, MAX_MEMBERS))
                    below += item
                    below += item.values()
                else:
                    below += item
            elif isinstance(item, str) and _UNSTORABLE.search(item):
                raise InvalidText("A text in the body holds NUL or an unpaired surrogate.")
        layer, level = below, level + 1
