"""From a notice to people: through fan-out, the rules, the dispatcher and fakes of the services."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.notices import read
from guardhouse.notices.kind import NoticeData
from guardhouse.notices.publish import publish
from guardhouse.notices.risk_kinds import RiskBandCrossed
from guardhouse.notices.webhook_kinds import WebhookDisabled, WebhookRecovered
from guardhouse.webhooks import fan_out
from guardhouse.webhooks.channels.jobs import prune_channels, summarise_channels
from guardhouse.webhooks.fan_out import EndpointCache
from guardhouse.webhooks.formats import RenderContext
from server.tests.components import api
from server.tests.components.mail_server import MailServer, serving_mail
from server.tests.components.opened import add_tenant, opened
from server.tests.components.receiver import answer, receiving
from server.tests.webhooks import make
from server.tests.webhooks.channels import make as channels


@pytest_asyncio.fixture
async def mail() -> AsyncIterator[MailServer]:
    async with serving_mail() as found:
        yield found


@pytest_asyncio.fixture
async def resources(database_url: str, tmp_path: Path, mail: MailServer) -> AsyncIterator[Resources]:
    url = SecretStr(f"smtp://127.0.0.1:{mail.port}")
    async with opened(database_url, tmp_path, egress_allow=make.OPEN_LOOPBACK, smtp_url=url) as found:
        yield found


async def say(resources: Resources, tenant: TenantKey, data: NoticeData, number: int = 1) -> None:
    async with tenant_transaction(resources.database, tenant) as tx:
        await publish(tx, data, tenant_id=tenant.id, subject_seq=number)


def crossed(incident: int, band: str = "high") -> RiskBandCrossed:
    return RiskBandCrossed.model_validate(
        {**RiskBandCrossed.example, "incident_id": str(UUID(int=incident)), "band": band}
    )


async def test_slack_hears_and_its_url_stays_secret(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey
) -> None:
    async with receiving(channels.slack) as receiver:
        made = await channels.channel(admin, "slack", url=receiver.url("/services/T0/B0/secret"))
        assert made["target"] == f"http://127.0.0.1:{receiver.port}/***"
        async with make.running(resources):
            await make.say(resources, tenant, 1)
            await make.until_states(resources, delivered=1)
    (request,) = receiver.requests
    assert request.path == "/services/T0/B0/secret"
    assert "webhook-signature" not in request.headers
    (body,) = channels.bodies(receiver)
    assert (
        body["text"] == "[low] An API key was ended for good: n1 (key:00000000-0000-0000-0000-000000000001)"
    )
    kept = await make.rows(resources, "SELECT * FROM webhook_endpoints")
    audited = await make.rows(resources, "SELECT * FROM audit_log")
    shown = (await admin.get("/api/v1/channels")).text
    assert not any("T0/B0/secret" in str(found) for found in (kept, audited, shown))


async def test_a_slack_channel_that_is_gone_is_disabled(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey
) -> None:
    async with receiving(answer(404, b"no_service")) as receiver:
        made = await channels.channel(admin, "slack", url=receiver.url("/gone"))
        async with make.running(resources):
            await make.say(resources, tenant, 1)

            async def disabled() -> bool:
                shown = (await admin.get(f"/api/v1/channels/{made['id']}")).json()
                return bool(shown["state"] == "disabled")

            await make.eventually(disabled)
    assert len(receiver.requests) == 1


async def test_pagerduty_opens_and_closes_one_alert(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey
) -> None:
    endpoint = UUID(int=4)
    async with receiving(channels.pagerduty) as receiver:
        url = receiver.url("").rstrip("/")
        await channels.channel(
            admin, "pagerduty", routing_key=channels.ROUTING_KEY, base_url=url, kinds=["webhook.*"]
        )
        async with make.running(resources):
            await say(resources, tenant, WebhookRecovered(endpoint_id=endpoint), 1)  # nothing is open yet
            await say(resources, tenant, WebhookDisabled(endpoint_id=endpoint, reason="gone"), 2)
            await make.until_states(resources, delivered=1)
            await say(resources, tenant, WebhookRecovered(endpoint_id=endpoint), 3)
            await make.until_states(resources, delivered=2)
    events = channels.bodies(receiver)
    assert [event["event_action"] for event in events] == ["trigger", "resolve"]
    assert {event["dedup_key"] for event in events} == {f"{tenant.id}:webhook:{endpoint}"}
    assert events[0]["payload"]["severity"] == "error"
    kept = await make.rows(resources, "SELECT body FROM webhook_messages")
    assert not any(channels.ROUTING_KEY.encode() in row["body"] for row in kept)


@pytest.mark.parametrize(
    ("status", "state", "tries"),
    [(400, "exhausted", 1), (429, "pending", 1), (500, "pending", 1), (200, "pending", 1)],
)
async def test_what_pagerduty_answers_decides(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey, status: int, state: str, tries: int
) -> None:
    async with receiving(answer(status, b"{}", Retry_After="3600")) as receiver:
        url = receiver.url("").rstrip("/")
        await channels.channel(admin, "pagerduty", routing_key="A" * 32, base_url=url)
        async with make.running(resources):
            await make.say(resources, tenant, 1)

            async def tried() -> bool:
                rows = await make.rows(resources, "SELECT state, tries FROM webhook_deliveries")
                return [(row["state"], row["tries"]) for row in rows] == [(state, tries)]

            await make.eventually(tried)
    assert len(receiver.requests) == tries


async def test_a_mail_is_tried_again_as_the_same_mail(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey, mail: MailServer
) -> None:
    made = await channels.channel(admin, "email", to=["on-call@example.com"])
    await make.rows(
        resources,
        "UPDATE webhook_endpoints SET steps = '{0.05,0.05,0.05}', version = version + 1 WHERE id = $1 RETURNING id",
        UUID(made["id"]),
    )
    mail.answer = "451 later"
    async with make.running(resources):
        await make.say(resources, tenant, 1)

        async def tried() -> bool:
            return len(mail.mails) >= 1

        await make.eventually(tried)
        mail.answer = "250 taken"
        await make.until_states(resources, delivered=1)
    assert len({found["Message-ID"] for found in mail.mails}) == 1
    assert mail.mails[0]["Subject"].startswith("[Guardhouse][low] An API key was ended for good: n1")
    assert mail.recipients[0] == ["on-call@example.com"]


async def test_one_notification_per_incident(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey
) -> None:
    async with receiving(channels.slack) as receiver:
        await channels.channel(admin, "slack", url=receiver.url(), kinds=["risk.*"], min_severity="high")
        async with make.running(resources):
            for number, (incident, band) in enumerate(
                [(1, "high"), (1, "medium"), (2, "low"), (1, "high"), (3, "medium")]
            ):
                await say(resources, tenant, crossed(incident, band), number)
            await make.until_states(resources, delivered=2)
    assert len(receiver.requests) == 2


async def test_a_generic_channel_is_a_signed_webhook_under_the_rules(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey
) -> None:
    async with receiving(answer(200)) as receiver:
        made = await channels.channel(admin, "webhook", url=receiver.url(), kinds=["risk.*"])
        assert made["secret"].startswith("whsec_")
        async with make.running(resources):
            for number in range(3):
                await say(resources, tenant, crossed(1), number)
            await make.until_states(resources, delivered=1)
    assert receiver.requests[0].headers["webhook-signature"].startswith("v1,")
    listed = (await admin.get("/api/v1/channels")).json()["data"]
    assert [found["id"] for found in listed] == [made["id"]]


async def test_what_is_too_much_comes_as_one_summary(database_url: str, tmp_path: Path) -> None:
    clock = SetClock()
    async with (
        opened(database_url, tmp_path, egress_allow=make.OPEN_LOOPBACK, clock=clock) as resources,
        api.client_of(resources) as client,
        receiving(channels.slack) as receiver,
    ):
        tenant, key = await add_tenant(resources, "acme")
        client.headers["X-API-Key"] = key
        made = await channels.channel(client, "slack", url=receiver.url(), max_per_hour=2)
        await channels.channel(
            client, "slack", url=receiver.url("/other"), kinds=["risk.*"]
        )  # hears none of it

        async def turn() -> int:
            async with system_transaction(resources.database) as tx:
                mark = await read.reader_mark(tx, fan_out.READER, clock.now())
                context = RenderContext(resources.settings.public_url)
                step = await fan_out.fan_out(tx, mark, EndpointCache(), context, clock.now())
                return step.deliveries

        async def turns(wanted: int) -> None:
            """Take turns until so many deliveries are made: a write elsewhere on the server holds a turn back."""
            made = 0
            async with asyncio.timeout(30):
                while (made := made + await turn()) < wanted:
                    await asyncio.sleep(0.05)
            assert made == wanted

        for number in range(1, 44):
            await make.say(resources, tenant, number, subject=number)
        await turns(2)
        await summarise_channels.run(channels.context(resources, summarise_channels.name))
        assert await turn() == 0  # not due before the hour is over
        clock.move(3601)
        await summarise_channels.run(channels.context(resources, summarise_channels.name))
        await summarise_channels.run(channels.context(resources, summarise_channels.name))
        await turns(1)
        rows = await make.rows(
            resources,
            "SELECT d.endpoint_id, m.body FROM webhook_deliveries d JOIN webhook_messages m ON m.id = d.message_id"
            " WHERE m.kind = 'channel.summary'",
        )
        assert [str(row["endpoint_id"]) for row in rows] == [made["id"]]
        assert b"41 more since " in rows[0]["body"]


async def test_a_removed_channel_leaves_nothing(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey
) -> None:
    async with receiving(channels.slack) as receiver:
        made = await channels.channel(admin, "slack", url=receiver.url())
        async with make.running(resources):
            await make.say(resources, tenant, 1)
            await make.until_states(resources, delivered=1)
        assert (await admin.delete(f"/api/v1/channels/{made['id']}")).status_code == 204
        assert (await admin.get(f"/api/v1/channels/{made['id']}")).status_code == 404
    for table in ("channel_tallies", "channel_subjects", "webhook_endpoints"):
        assert not await make.rows(resources, f"SELECT * FROM {table}")


async def test_old_subjects_go(resources: Resources, tenant: TenantKey) -> None:
    for subject, days in (("key:old", 31), ("key:new", 29)):
        await make.rows(
            resources,
            "INSERT INTO channel_subjects VALUES ($1, $2, $3, 'low', now() - make_interval(days => $4), true)"
            " RETURNING subject",
            UUID(int=1),
            subject,
            tenant.id,
            days,
        )
    await prune_channels.run(channels.context(resources, prune_channels.name))
    left = await make.rows(resources, "SELECT subject FROM channel_subjects")
    assert [row["subject"] for row in left] == ["key:new"]
