"""Identifiers made here: UUIDv7 (RFC 9562), so that primary keys grow with time on any PostgreSQL."""

from uuid import UUID

import uuid_utils


def new_id() -> UUID:
    """Return a fresh UUIDv7."""
    return UUID(int=uuid_utils.uuid7().int)
