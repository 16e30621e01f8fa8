"""Identifiers made here: UUIDv7 (RFC 9562), so that primary keys grow with time on any PostgreSQL."""

from datetime import datetime
from uuid import UUID

import uuid_utils

from guardhouse.foundation.clock import from_microseconds, microseconds

_MILLISECOND = 1_000  # microseconds
_TIME_BITS = 80  # below the 48 bits of milliseconds


def new_id() -> UUID:
    """Return a fresh UUIDv7."""
    return UUID(int=uuid_utils.uuid7().int)


def id_at(instant: datetime) -> UUID:
    """Return a fresh UUIDv7 of an instant, whose milliseconds :func:`time_of` gives back."""
    milliseconds = microseconds(instant) // _MILLISECOND
    return UUID(int=milliseconds << _TIME_BITS | new_id().int & ((1 << _TIME_BITS) - 1))


def time_of(identifier: UUID) -> datetime | None:
    """Return the instant in a UUIDv7, whole milliseconds; None for another kind of id."""
    if identifier.version != 7:  # noqa: PLR2004 - the version with a time
        return None
    return from_microseconds((identifier.int >> _TIME_BITS) * _MILLISECOND)
