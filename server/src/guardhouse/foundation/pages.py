"""Lists in pages: a signed cursor that names the last row's place, bound to tenant, route and filters.

Order is a compound key that ends in a unique column and is compared as a row, so that ties, inserts and
deletes between two pages neither repeat nor lose a row that was there throughout.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel

from guardhouse.foundation.clock import Clock
from guardhouse.foundation.errors import Problem

CURSOR_SECONDS = 3600
MAX_CURSOR_LENGTH = 512
DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
_PREFIX = "c1."
_MAC_BYTES = 16
_BINDING_BYTES = 8

Row = TypeVar("Row")
Shape = TypeVar("Shape")


class InvalidCursor(Problem):
    """The cursor was changed, has expired, or belongs to another list; ``reason`` says which."""

    status, code, title = 400, "invalid_cursor", "Invalid cursor"
    remediation = "Start again without a cursor; keep the same filters while paging."


class _Payload(msgspec.Struct, array_like=True):
    key: bytes
    expires: int
    binding: bytes
    values: list[Any]


@dataclass(frozen=True, slots=True)
class CursorSigner:
    """Makes and reads cursors of one list: ``keys`` newest first (two verify during a rotation)."""

    keys: Sequence[bytes]
    binding: bytes
    clock: Clock

    def sign(self, values: Sequence[Any]) -> str:
        """Return the cursor that stands after the row with these key values."""
        expires = int(self.clock.now().timestamp()) + CURSOR_SECONDS
        key = self.keys[0]
        payload = msgspec.msgpack.encode(_Payload(_key_id(key), expires, self.binding, list(values)))
        return f"{_PREFIX}{_encode(payload)}.{_encode(_mac(key, payload))}"

    def read(self, cursor: str) -> list[Any]:
        """Return the key values inside a cursor.

        Raises:
            InvalidCursor: tampered, expired, or made for other filters, route or tenant.
        """
        payload, found = self._verified(cursor)
        if payload is None:
            raise InvalidCursor("The cursor is not one that this server made.", reason="tampered")
        if not hmac.compare_digest(found.binding, self.binding):
            raise InvalidCursor("The cursor belongs to a list with other filters.", reason="filters_changed")
        if found.expires < int(self.clock.now().timestamp()):
            raise InvalidCursor("The cursor has expired; it is good for one hour.", reason="expired")
        return found.values

    def _verified(self, cursor: str) -> tuple[bytes | None, _Payload]:
        nothing = _Payload(b"", 0, b"", [])
        if len(cursor) > MAX_CURSOR_LENGTH or not cursor.startswith(_PREFIX):
            return None, nothing
        body, _, mac = cursor.removeprefix(_PREFIX).partition(".")
        try:
            payload, given = _decode(body), _decode(mac)
        except (ValueError, binascii.Error):
            return None, nothing
        if _encode(payload) != body or _encode(given) != mac:
            return None, nothing  # another spelling of the same bytes
        for key in self.keys:
            if hmac.compare_digest(_mac(key, payload), given):
                return payload, msgspec.msgpack.decode(payload, type=_Payload)
        return None, nothing


class Pagination(BaseModel):
    """Where the next page starts."""

    cursor: str | None
    has_more: bool


@dataclass(frozen=True, slots=True)
class Page:
    """One page asked for: ``limit`` rows after the key values ``after`` (None = from the start)."""

    limit: int
    after: list[Any] | None
    signer: CursorSigner

    def answer(
        self, rows: Sequence[Row], key: Callable[[Row], Sequence[Any]], shape: Callable[[Row], Shape]
    ) -> dict[str, Any]:
        """Return the list envelope of ``limit + 1`` fetched rows or fewer."""
        kept = rows[: self.limit]
        more = len(rows) > self.limit
        cursor = self.signer.sign(key(kept[-1])) if more and kept else None
        return {"data": [shape(row) for row in kept], "pagination": {"cursor": cursor, "has_more": more}}


def bind(tenant: str, route: str, filters: Sequence[tuple[str, str]]) -> bytes:
    """Return what ties a cursor to one list: 8 bytes of SHA-256 over tenant, route and filters."""
    text = msgspec.msgpack.encode([tenant, route, sorted(filters)])
    return hashlib.sha256(text).digest()[:_BINDING_BYTES]


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()[:4]


def _mac(key: bytes, payload: bytes) -> bytes:
    return hmac.digest(key, payload, "sha256")[:_MAC_BYTES]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
