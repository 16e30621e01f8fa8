"""A mail server on a real socket (aiosmtpd): with or without TLS, saying yes, later or no."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

PLAIN = "250 taken"


@dataclass(slots=True)
class MailServer:
    """What came, and what is answered to it."""

    answer: str = PLAIN
    refuse: dict[str, str] = field(default_factory=dict)
    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    logins: list[bytes] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's hook
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Take or refuse one recipient."""
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - as above
        """Keep the mail and answer."""
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content, _class=EmailMessage, policy=policy.SMTP))
        self.recipients.append(list(envelope.rcpt_tos))
        self.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
        return self.answer

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, login: Any
    ) -> AuthResult:
        """Take the one password."""
        self.logins.append(login.login)
        return AuthResult(success=login.password == b"tiger", handled=login.password == b"tiger")


@asynccontextmanager
async def serving_mail(
    *, starttls: ssl.SSLContext | None = None, implicit: ssl.SSLContext | None = None
) -> AsyncIterator[MailServer]:
    """Listen on a free port of loopback for the length of a test."""
    mails = MailServer()
    loop = asyncio.get_running_loop()
    transports: list[asyncio.BaseTransport] = []

    def made() -> SMTP:
        server = SMTP(
            mails, tls_context=starttls, hostname="mail.example", authenticator=mails.authenticate, loop=loop
        )
        connected = server.connection_made

        def connection_made(transport: asyncio.BaseTransport) -> None:
            transports.append(transport)
            connected(transport)

        server.connection_made = connection_made  # type: ignore[method-assign] # to close what a test leaves open
        return server

    listening = await loop.create_server(made, "127.0.0.1", 0, ssl=implicit)
    mails.port = listening.sockets[0].getsockname()[1]
    try:
        yield mails
    finally:
        listening.close()
        for transport in transports:
            transport.close()
        await listening.wait_closed()
