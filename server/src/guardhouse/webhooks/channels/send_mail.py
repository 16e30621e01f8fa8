"""Send one mail by the configured SMTP server: encrypted, under the egress rules, the same mail at every try.

Plain text is spoken only to a server in a network that the operator opened.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import aiosmtplib
import msgspec

from guardhouse.foundation import outbound
from guardhouse.foundation.egress import EgressRefused
from guardhouse.foundation.resources import Resources
from guardhouse.settings import Settings
from guardhouse.webhooks.format_mail import Mail
from guardhouse.webhooks.say import plain
from guardhouse.webhooks.send import (
    ANSWER_KEPT_BYTES,
    Delivered,
    Destination,
    Message,
    Outcome,
    Rejected,
    Unreachable,
)

TEMPORARY: Final = range(400, 500)
PERMANENT: Final = range(500, 600)
_UNSIGNED: Final = ""
_PORTS: Final = {"smtp": 587, "smtps": 465}


class NotOfferedError(aiosmtplib.SMTPException):
    """The server does not offer what we insist on; the text is the short name of it."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """The server that takes mails. ``implicit_tls``: TLS from the first byte, else STARTTLS."""

    host: str
    port: int
    implicit_tls: bool
    user: str | None
    password: str | None = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> "MailServer":
        """Read ``smtp://`` or ``smtps://`` with login, host and port, as the settings checked it."""
        parts = urlsplit(url)
        return cls(
            host=parts.hostname or "",
            port=parts.port or _PORTS[parts.scheme],
            implicit_tls=parts.scheme == "smtps",
            user=parts.username and unquote(parts.username),
            password=parts.password and unquote(parts.password),
        )


async def send_mail(
    resources: Resources, destination: Destination, message: Message, at: datetime
) -> Outcome:
    """Send a mail and return how it went; never raises for what the server does."""
    began = time.perf_counter()

    def elapsed() -> float:
        return (time.perf_counter() - began) * 1000

    if resources.settings.smtp_url is None:
        return Rejected(None, "mail_not_configured", 0.0, None, b"", _UNSIGNED)
    server = MailServer.parse(resources.settings.smtp_url.get_secret_value())
    mail = compose(resources.settings, destination, message, at)
    address: str | None = None
    try:
        async with asyncio.timeout(destination.timeout_seconds):
            opened, address = await resources.outbound.connect(server.host, server.port, scheme="smtp")
            plain_allowed = resources.outbound.opened(address, server.port)
            talk = Talk(server, resources.outbound.trust, plain_allowed)
            answer = await talk.send(opened, mail)
    except EgressRefused as refused:
        return Rejected(None, f"address_refused: {refused.rule}", elapsed(), None, b"", _UNSIGNED)
    except outbound.Unreachable as failed:
        return Unreachable(failed.reason, elapsed(), failed.address, _UNSIGNED)
    except (aiosmtplib.SMTPException, OSError) as error:
        return _judge_error(error, elapsed(), address)
    return Delivered(250, elapsed(), address, answer[:ANSWER_KEPT_BYTES], _UNSIGNED)


def compose(settings: Settings, destination: Destination, message: Message, at: datetime) -> EmailMessage:
    """Return the mail with its envelope. ``Message-ID`` is the delivery's: a retry is the same mail.

    No header can be injected: every text is one line, addresses were checked when the channel was made, and the
    library refuses what still holds a line break.
    """
    mail = msgspec.json.decode(message.body, type=Mail)
    host = urlsplit(settings.public_url).hostname or "guardhouse"
    found = EmailMessage(policy=SMTP)
    found["From"] = Address("Guardhouse", addr_spec=settings.mail_from)
    found["To"] = [Address(addr_spec=to) for to in _recipients(destination)]
    found["Subject"] = plain(mail.subject)
    found["Date"] = format_datetime(at)
    found["Message-ID"] = f"<{message.delivery_id}@{host}>"
    found["References"] = f"<{mail.thread}@{host}>"
    found["Auto-Submitted"] = "auto-generated"
    unsubscribe = quote(f"unsubscribe channel {destination.endpoint_id}")
    found["List-Unsubscribe"] = f"<mailto:{settings.mail_from}?subject={unsubscribe}>"
    found.set_content(mail.text)
    found.add_alternative(mail.html, subtype="html")
    return found


def _recipients(destination: Destination) -> list[str]:
    given: Any = destination.config.get("to", ())
    return [str(to) for to in given]


@dataclass(frozen=True, slots=True)
class Talk:
    """One conversation with the server."""

    server: MailServer
    trust: ssl.SSLContext
    plain_allowed: bool

    async def send(self, opened: socket.socket, mail: EmailMessage) -> bytes:
        """Encrypt, log in, hand the mail over; returns what the server said."""
        server = self.server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            sock=opened,
            use_tls=server.implicit_tls,
            start_tls=False,  # asked for below: what to do without it depends on the server's network
            timeout=None,
            tls_context=self.trust,
            local_hostname="guardhouse",
        )
        async with client:
            await client.ehlo()
            offered = client.supports_extension("starttls")
            if not (offered or server.implicit_tls or self.plain_allowed):
                raise NotOfferedError("tls_required")
            if offered and not server.implicit_tls:
                await client.starttls(server_hostname=server.host)
                await client.ehlo()  # what was offered in plain text counts no more (RFC 3207 §4.2)
            if server.user is not None and not client.supports_extension("auth"):
                raise NotOfferedError("login_not_offered")
            if server.user is not None:
                await client.login(server.user, server.password or "")
            refused, answer = await client.send_message(mail)
        missed = "".join(f"; {code} {_text(text)} for one recipient" for code, text in refused.values())
        return (answer + missed).encode()


def _judge_error(error: Exception, elapsed_ms: float, address: str | None) -> Outcome:
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        codes = [refused.code for refused in error.recipients]
        code = next((found for found in codes if found in TEMPORARY), codes[0])
        return _refused(code, _text(error.recipients[0].message), elapsed_ms, address)
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        return Rejected(error.code, "login_refused", elapsed_ms, address, b"", _UNSIGNED)
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return _refused(error.code, _text(error.message), elapsed_ms, address)
    if isinstance(error, NotOfferedError):
        return Rejected(None, str(error), elapsed_ms, address, b"", _UNSIGNED)
    for is_of, reason in _REASONS:
        if is_of(error):
            return Unreachable(reason, elapsed_ms, address, _UNSIGNED)
    return Unreachable("protocol", elapsed_ms, address, _UNSIGNED)


def _refused(code: int, text: str, elapsed_ms: float, address: str | None) -> Rejected:
    kept = text.encode()[:ANSWER_KEPT_BYTES]
    return Rejected(code, f"SMTP {code}", elapsed_ms, address, kept, _UNSIGNED, permanent=code in PERMANENT)


def _text(said: str | bytes) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else said


def _is_tls(error: BaseException | None) -> bool:
    return error is not None and (isinstance(error, ssl.SSLError) or _is_tls(error.__cause__))


_REASONS: Final[tuple[tuple[Callable[[Exception], bool], str], ...]] = (
    (_is_tls, "tls"),
    (lambda error: isinstance(error, TimeoutError), "timeout"),
    (lambda error: isinstance(error, (ConnectionError, OSError)), "reset"),
)
