"""How a notice becomes the body of a message, one pure function per format.

A body is rendered once per (notice, format) and stored; those bytes are signed and sent each time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from guardhouse.foundation.clock import rfc3339
from guardhouse.notices.read import Notice
from guardhouse.webhooks.format_mail import render_mail
from guardhouse.webhooks.format_pagerduty import render_pagerduty
from guardhouse.webhooks.format_slack import render_slack
from guardhouse.webhooks.legacy_bodies import NAME_OF, render_legacy

STANDARD: Final = "standard"
LEGACY: Final = "legacy"
SLACK: Final = "slack"
PAGERDUTY: Final = "pagerduty"
MAIL: Final = "email"


@dataclass(frozen=True, slots=True)
class RenderContext:
    """What a body may say beside its notice."""

    public_url: str


def render_standard(notice: Notice, _context: RenderContext) -> bytes:
    """Return ``{type, timestamp, data}`` (Standard Webhooks 1.0, "Payload structure").

    The data of a notice is at most 16 KiB, so a body never needs to become a link.
    """
    return msgspec.json.encode(
        {
            "type": notice.kind,
            "timestamp": rfc3339(notice.occurred_at),
            "data": msgspec.json.decode(notice.data),
        }
    )


def _legacy(notice: Notice, _context: RenderContext) -> bytes:
    return render_legacy(notice)


Renderer = Callable[[Notice, RenderContext], bytes]
FORMATS: Final[Mapping[str, Renderer]] = {
    STANDARD: render_standard,
    LEGACY: _legacy,
    SLACK: lambda notice, context: render_slack(notice, context.public_url),
    PAGERDUTY: lambda notice, context: render_pagerduty(notice, context.public_url),
    MAIL: lambda notice, context: render_mail(notice, context.public_url),
}


def render(form: str, notice: Notice, context: RenderContext) -> bytes:
    """Return the body of a notice in a format of ``FORMATS``."""
    return FORMATS[form](notice, context)


def event_type(form: str, notice: Notice) -> str:
    """Return what ``x-event-type`` says: the kind, or the legacy name."""
    return NAME_OF[notice.kind] if form == LEGACY else notice.kind
