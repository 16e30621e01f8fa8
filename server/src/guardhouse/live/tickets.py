"""Tickets: a caller gets one with its credential and spends it once within a minute on a stream.

For browsers, whose EventSource sends no headers; a key in a URL is refused, a spent ticket in a log is worthless.
"""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Final

from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Problem
from guardhouse.live import store
from guardhouse.live.store import Visitor

TICKET_SECONDS: Final = 60
_PREFIX: Final = "st_"


class TicketInvalid(Problem):
    """The ticket was used already, is over a minute old, or was never given out."""

    status, code, title = 401, "stream_ticket_invalid", "Stream ticket invalid"
    remediation = "Ask for a new one with `POST /api/v1/stream/tickets`; each opens one stream within 60 s."

    def __init__(self) -> None:
        super().__init__(
            "The ticket opens no stream.", headers={"WWW-Authenticate": 'Bearer realm="guardhouse"'}
        )


async def issue(tx: Tx, visitor: Visitor, now: datetime) -> tuple[str, datetime]:
    """Make a ticket for a caller and return it with the moment it ends; only its digest is stored."""
    ticket = _PREFIX + secrets.token_urlsafe(32)
    expires_at = now + timedelta(seconds=TICKET_SECONDS)
    await store.add_ticket(tx, _digest(ticket), visitor, expires_at)
    return ticket, expires_at


async def redeem(tx: Tx, ticket: str, now: datetime) -> Visitor:
    """Spend a ticket and return who listens.

    Raises:
        TicketInvalid: there is no such ticket any more.
    """
    visitor = await store.take_ticket(tx, _digest(ticket), now)
    if visitor is None:
        raise TicketInvalid
    return visitor


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()
