"""Mails through a real SMTP server: encrypted or not sent, the same mail at each try, judged by its answer."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from pydantic import SecretStr

from guardhouse.foundation.egress import EgressRules
from guardhouse.foundation.outbound import Outbound
from guardhouse.foundation.resources import Resources
from guardhouse.webhooks.channels.send_mail import MailServer, NotOfferedError, Talk, compose, send_mail
from guardhouse.webhooks.format_mail import Mail
from guardhouse.webhooks.send import Delivered, Destination, Message, Outcome, Rejected, Unreachable
from server.tests.components.certificates import Authority, authority
from server.tests.components.mail_server import serving_mail
from server.tests.components.names import Names
from server.tests.components.opened import opened

AT = datetime(2026, 1, 15, 12, tzinfo=UTC)
HOST = "mail.example"


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("authority"))


@asynccontextmanager
async def mailing(
    database_url: str, folder: Path, url: str, *, trust: Authority | None = None, **settings: Any
) -> AsyncIterator[Resources]:
    """Open resources whose mail server is at a URL, and whose names lead to loopback."""
    values = {"egress_allow": ["127.0.0.1/32:*"], "smtp_url": SecretStr(url), "mail_from": "gh@guard.example"}
    async with opened(database_url, folder, **values | settings) as resources:
        names = Names()
        names.say(HOST, ["127.0.0.1"])
        rules = EgressRules.from_settings(resources.settings)
        outbound = Outbound(rules, lookup=names, tls=trust and trust.trust)
        yield replace(resources, outbound=outbound)
        await outbound.close()


def destination(*to: str) -> Destination:
    recipients = to or ("on-call@example.com",)
    return Destination(UUID(int=1), "email", {"to": recipients}, "mailto:", b"", None, None, None, {}, 5.0)


def message(**changed: str) -> Message:
    mail = msgspec.structs.replace(
        Mail("[Guardhouse][high] Something", "Text é", "<p>Text é</p>", "thread"), **changed
    )
    return Message(UUID(int=2), UUID(int=3), "key.revoked", "high", "", False, msgspec.json.encode(mail))  # noqa: FBT003 - its place


async def sent(resources: Resources, *to: str) -> Outcome:
    return await send_mail(resources, destination(*to), message(), AT)


async def test_a_mail_arrives_encrypted_by_starttls(
    database_url: str, tmp_path: Path, signer: Authority
) -> None:
    async with (
        serving_mail(starttls=signer.server(HOST)) as server,
        mailing(database_url, tmp_path, f"smtp://gh:tiger@{HOST}:{server.port}", trust=signer) as resources,
    ):
        outcome = await sent(resources, "a@example.com", "b@example.com")
    assert isinstance(outcome, Delivered)
    assert (outcome.status, outcome.address) == (250, "127.0.0.1")
    assert server.encrypted == [True]
    assert server.logins == [b"gh"]
    assert server.recipients == [["a@example.com", "b@example.com"]]
    (mail,) = server.mails
    assert mail["Subject"] == "[Guardhouse][high] Something"
    assert mail["From"] == "Guardhouse <gh@guard.example>"
    assert mail["Message-ID"] == f"<{UUID(int=3)}@127.0.0.1>"
    assert mail["List-Unsubscribe"].startswith("<mailto:gh@guard.example?subject=unsubscribe")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert [part.get_content().strip() for part in mail.iter_parts()] == ["Text é", "<p>Text é</p>"]


async def test_a_retry_is_the_same_mail(database_url: str, tmp_path: Path) -> None:
    async with (
        serving_mail() as server,
        mailing(database_url, tmp_path, f"smtp://{HOST}:{server.port}") as resources,
    ):
        for _ in range(2):
            await sent(resources)
    first, second = server.mails
    assert first["Message-ID"] == second["Message-ID"]
    assert first["References"] == second["References"]


async def test_implicit_tls(database_url: str, tmp_path: Path, signer: Authority) -> None:
    async with (
        serving_mail(implicit=signer.server(HOST)) as server,
        mailing(database_url, tmp_path, f"smtps://{HOST}:{server.port}", trust=signer) as resources,
    ):
        assert isinstance(await sent(resources), Delivered)
    assert server.encrypted == [True]


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_a_certificate_of_another_name_is_refused(
    database_url: str, tmp_path: Path, signer: Authority, scheme: str
) -> None:
    context = signer.server("other.example")
    serving = serving_mail(starttls=context) if scheme == "smtp" else serving_mail(implicit=context)
    async with (
        serving as server,
        mailing(database_url, tmp_path, f"{scheme}://{HOST}:{server.port}", trust=signer) as resources,
    ):
        outcome = await sent(resources)
    assert isinstance(outcome, Unreachable)
    assert outcome.error == "tls"
    assert not server.mails


async def test_plain_text_is_spoken_in_opened_networks_only(database_url: str, tmp_path: Path) -> None:
    async with (
        serving_mail() as server,
        mailing(database_url, tmp_path, f"smtp://{HOST}:{server.port}") as resources,
    ):
        assert isinstance(await sent(resources), Delivered)
        assert server.encrypted == [False]
        closed = Talk(
            MailServer.parse(f"smtp://gh:tiger@{HOST}:{server.port}"),
            resources.outbound.trust,
            plain_allowed=False,
        )
        opened_socket, _ = await resources.outbound.connect(HOST, server.port, scheme="smtp")
        with pytest.raises(NotOfferedError, match="tls_required"):
            await closed.send(opened_socket, compose(resources.settings, destination(), message(), AT))
    assert (len(server.mails), server.logins) == (1, [])


async def test_no_password_without_encryption(database_url: str, tmp_path: Path) -> None:
    async with (
        serving_mail() as server,
        mailing(database_url, tmp_path, f"smtp://gh:tiger@{HOST}:{server.port}") as resources,
    ):
        outcome = await sent(resources)
    assert isinstance(outcome, Rejected)
    assert (outcome.error, outcome.permanent) == ("login_not_offered", False)
    assert not server.logins


async def test_a_mail_server_at_a_forbidden_address_is_refused(database_url: str, tmp_path: Path) -> None:
    async with (
        serving_mail() as server,
        mailing(database_url, tmp_path, f"smtp://{HOST}:{server.port}", egress_allow=[]) as resources,
    ):
        outcome = await sent(resources)
    assert isinstance(outcome, Rejected)
    assert outcome.error == "address_refused: address"


@pytest.mark.parametrize(
    ("answer", "status", "permanent"),
    [("451 later", 451, False), ("452 full", 452, False), ("550 no", 550, True), ("554 spam", 554, True)],
)
async def test_the_servers_answer_decides(
    database_url: str, tmp_path: Path, answer: str, status: int, *, permanent: bool
) -> None:
    async with (
        serving_mail() as server,
        mailing(database_url, tmp_path, f"smtp://{HOST}:{server.port}") as resources,
    ):
        server.answer = answer
        outcome = await sent(resources)
    assert isinstance(outcome, Rejected)
    assert (outcome.status, outcome.permanent) == (status, permanent)


async def test_one_refused_recipient_does_not_keep_the_mail_from_the_others(
    database_url: str, tmp_path: Path
) -> None:
    async with (
        serving_mail() as server,
        mailing(database_url, tmp_path, f"smtp://{HOST}:{server.port}") as resources,
    ):
        server.refuse = {"gone@example.com": "550 who?"}
        outcome = await sent(resources, "gone@example.com", "here@example.com")
        assert isinstance(outcome, Delivered)
        assert b"550" in outcome.answer
        nobody = await sent(resources, "gone@example.com")
        server.refuse = {"gone@example.com": "450 busy"}
        later = await sent(resources, "gone@example.com")
    assert server.recipients == [["here@example.com"]]
    assert isinstance(nobody, Rejected)
    assert (nobody.status, nobody.permanent) == (550, True)
    assert isinstance(later, Rejected)
    assert (later.status, later.permanent) == (450, False)


async def test_a_wrong_login_is_tried_again(database_url: str, tmp_path: Path, signer: Authority) -> None:
    async with (
        serving_mail(starttls=signer.server(HOST)) as server,
        mailing(database_url, tmp_path, f"smtp://gh:lion@{HOST}:{server.port}", trust=signer) as resources,
    ):
        outcome = await sent(resources)
    assert isinstance(outcome, Rejected)
    assert (outcome.error, outcome.permanent) == ("login_refused", False)


async def test_nobody_and_silence(database_url: str, tmp_path: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        url = f"smtp://{HOST}:{deaf.getsockname()[1]}"
        async with mailing(database_url, tmp_path, url) as resources:
            refused = await sent(resources)
            deaf.listen()
            silent = await send_mail(resources, replace(destination(), timeout_seconds=0.3), message(), AT)
    assert isinstance(refused, Unreachable)
    assert refused.error == "connect"
    assert isinstance(silent, Unreachable)
    assert silent.error == "timeout"


async def test_no_header_can_be_injected(resources: Resources) -> None:
    hostile = message(subject="Hello\r\nBcc: victim@example.com\r\n\r\nbody")
    mail = compose(resources.settings, destination(), hostile, AT)
    assert mail["Bcc"] is None
    assert mail["Subject"] == "Hello Bcc: victim@example.com body"
    for address in ("a@example.com\r\nBcc: b@example.com", "a@example.com\nX: y"):
        with pytest.raises(ValueError, match=r"CR|LF|invalid|Invalid"):
            compose(resources.settings, destination(address), message(), AT)


async def test_without_a_mail_server_nothing_is_sent(resources: Resources) -> None:
    outcome = await sent(resources)
    assert isinstance(outcome, Rejected)
    assert outcome.error == "mail_not_configured"
