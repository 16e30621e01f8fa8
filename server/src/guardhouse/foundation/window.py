"""Instants and spans of time in queries: RFC 3339 with a zone, within what the database can hold."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AwareDatetime, BaseModel, BeforeValidator

from guardhouse.foundation.errors import ValidationFailed

_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _read(value: object) -> object:
    """Return the instant in UTC; an integer, a date or a time without a zone is not one."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("must be RFC 3339 with a zone, as in 2026-01-31T12:00:00Z")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("there is no such instant") from None


Instant = Annotated[AwareDatetime, BeforeValidator(_read)]


class Window(BaseModel):
    """A span of time: from ``since`` on, before ``until``."""

    since: Instant | None = None
    until: Instant | None = None

    def check_order(self) -> None:
        """Insist that the span is not empty.

        Raises:
            ValidationFailed: ``since`` is not before ``until``.
        """
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValidationFailed(
                "since is not before until.",
                errors=[{"parameter": "since", "code": "order", "detail": "must be before until"}],
            )
