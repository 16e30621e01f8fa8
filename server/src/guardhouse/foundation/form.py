"""Bodies in ``application/x-www-form-urlencoded``, bounded in size, pace and number of members.

A member may come once only (RFC 6749 §3.2): a repeated one is a fault, so that two readers never take different values.
"""

import asyncio
from collections.abc import AsyncIterable
from typing import Final
from urllib.parse import parse_qsl

from guardhouse.foundation.errors import BodyTooLarge, InvalidRequest, RequestTimeout, UnsupportedMediaType

FORM_TYPE: Final = "application/x-www-form-urlencoded"
FORM_BYTES: Final = 64 << 10
FORM_MEMBERS: Final = 50
BODY_SECONDS: Final = 30


async def read_form(content_type: str, chunks: AsyncIterable[bytes]) -> dict[str, str]:
    """Return the members of a form; those without a value are left out, as RFC 6749 §3.2 wants.

    Raises:
        UnsupportedMediaType: another content type, or another charset than UTF-8.
        BodyTooLarge: over 64 KiB.
        RequestTimeout: half a minute without a byte.
        InvalidRequest: not UTF-8, over 50 members, or a member that comes twice.
    """
    media_type, _, parameters = (part.strip().lower() for part in content_type.partition(";"))
    charset = parameters.partition("charset=")[2].strip('" ')
    if media_type != FORM_TYPE or charset not in {"", "utf-8", "utf8"}:
        raise UnsupportedMediaType("The body is not a form in UTF-8.", supported=[FORM_TYPE])
    body = await _read(chunks)
    try:
        pairs = parse_qsl(body.decode(), encoding="utf-8", errors="strict", max_num_fields=FORM_MEMBERS)
    except ValueError:
        raise InvalidRequest("The form is not UTF-8, or has too many members.") from None
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidRequest("A member of the form comes more than once.")
    if any("\0" in text for pair in pairs for text in pair):
        raise InvalidRequest("The form holds a NUL.")
    return members


async def _read(chunks: AsyncIterable[bytes]) -> bytes:
    taken, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS) as patience:
            async for chunk in chunks:
                size += len(chunk)
                if size > FORM_BYTES:
                    raise BodyTooLarge("The form is larger than 64 KiB.", limit_bytes=FORM_BYTES)
                taken.append(chunk)
                patience.reschedule(asyncio.get_running_loop().time() + BODY_SECONDS)
    except TimeoutError:
        raise RequestTimeout(f"No byte of the body came for {BODY_SECONDS} seconds.") from None
    return b"".join(taken)
