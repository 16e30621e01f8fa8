import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from guardhouse.foundation.resources import Resources
from server.tests.components import api
from server.tests.components.mail_server import serving_mail
from server.tests.components.opened import add_tenant, opened
from server.tests.components.receiver import receiving
from server.tests.webhooks import make
from server.tests.webhooks.channels import make as channels

SLACK = {"kind": "slack", "name": "on call", "kinds": ["key.*"], "url": "https://127.0.0.1/x"}
PAGER = {"kind": "pagerduty", "name": "on call", "kinds": ["key.*"], "routing_key": "A" * 32}
PAGER |= {"base_url": "https://127.0.0.1"}
EMAIL = {"kind": "email", "name": "on call", "kinds": ["key.*"], "to": ["a@example.com"]}


@pytest_asyncio.fixture
async def resources(database_url: str, tmp_path: Path) -> AsyncIterator[Resources]:
    """Mail goes to a port where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = SecretStr(f"smtp://127.0.0.1:{unused.getsockname()[1]}")
        async with opened(database_url, tmp_path, egress_allow=make.OPEN_LOOPBACK, smtp_url=url) as found:
            yield found


async def test_a_channel_is_made_shown_changed_and_removed(admin: httpx.AsyncClient) -> None:
    quiet = {"start": "22:00", "end": "07:00", "timezone": "Europe/Berlin"}
    made = await admin.post("/api/v1/channels", json={**PAGER, "quiet_hours": quiet, "min_severity": "high"})
    assert made.status_code == 201
    path = made.headers["location"]
    shown = made.json()
    assert (shown["quiet_hours"], shown["min_severity"], shown["state"]) == (quiet, "high", "active")
    assert "A" * 32 not in made.text
    body = {
        "name": "night",
        "quiet_hours": None,
        "max_per_hour": 3,
        "state": "paused",
        "routing_key": "B" * 32,
    }
    stale = await admin.patch(path, json=body, headers={"If-Match": '"99"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    changed = await admin.patch(path, json=body, headers={"If-Match": made.headers["etag"]})
    assert changed.status_code == 200
    after = changed.json()
    assert (after["name"], after["quiet_hours"], after["max_per_hour"]) == ("night", None, 3)
    assert (after["state"], after["min_severity"], after["group_seconds"]) == ("paused", "high", 60)
    assert (await admin.patch(path, json={"state": "active"})).json()["state"] == "active"
    again = await admin.get(path)
    assert again.json()["name"] == "night"
    assert (await admin.delete(path)).status_code == 204
    assert (await admin.get(path)).status_code == 404


async def test_channels_are_listed_by_pages_and_webhooks_are_none(admin: httpx.AsyncClient) -> None:
    webhook = {"url": "https://127.0.0.1/x", "kinds": ["key.*"]}
    plain = (await admin.post("/api/v1/webhooks", json=webhook)).json()
    made = [(await admin.post("/api/v1/channels", json=body)).json()["id"] for body in (SLACK, PAGER, EMAIL)]
    first = (await admin.get("/api/v1/channels", params={"limit": 2})).json()
    cursor = first["pagination"]["cursor"]
    second = (await admin.get("/api/v1/channels", params={"limit": 2, "cursor": cursor})).json()
    assert [found["id"] for found in first["data"] + second["data"]] == made
    assert (await admin.get(f"/api/v1/channels/{plain['id']}")).status_code == 404
    assert (await admin.get(f"/api/v1/webhooks/{made[0]}")).status_code == 404


@pytest.mark.parametrize(
    "changed",
    [
        {**EMAIL, "to": ["a@example.com\r\nBcc: b@example.com"]},
        {**EMAIL, "to": ["a@example.com\n"]},
        {**EMAIL, "to": ["a b@example.com"]},
        {**EMAIL, "to": ["Name <a@example.com>"]},
        {**EMAIL, "to": ["a@example.com,b@example.com"]},
        {**EMAIL, "to": ["a@"]},
        {**EMAIL, "to": []},
        {**EMAIL, "to": ["a@example.com"] * 21},
        {**EMAIL, "name": "on call\r\nBcc: b@example.com"},
        {**EMAIL, "name": ""},
        {**EMAIL, "url": "https://127.0.0.1/x"},
        {**PAGER, "routing_key": "A" * 31},
        {**PAGER, "routing_key": "A" * 31 + "\n"},
        {**SLACK, "kinds": []},
        {**SLACK, "kinds": ["telemetry.received"]},
        {**SLACK, "kinds": ["no.such"]},
        {**SLACK, "kind": "sms"},
        {**SLACK, "group_seconds": -1},
        {**SLACK, "max_per_hour": 0},
        {**SLACK, "quiet_hours": {"start": "22:00", "end": "22:00"}},
        {**SLACK, "quiet_hours": {"start": "24:00", "end": "07:00"}},
        {**SLACK, "quiet_hours": {"start": "22:00", "end": "07:00", "timezone": "Mars/Olympus"}},
        {**SLACK, "quiet_hours": {"start": "22:00", "end": "07:00", "timezone": "../../etc/passwd"}},
        {name: value for name, value in SLACK.items() if name != "kind"},
    ],
)
async def test_bad_channels_are_refused_with_the_reason(
    admin: httpx.AsyncClient, changed: dict[str, Any]
) -> None:
    got = await admin.post("/api/v1/channels", json=changed)
    assert got.status_code == 422, got.text
    assert got.json()["code"] == "validation_failed"


async def test_a_member_of_another_kind_of_channel_is_refused(admin: httpx.AsyncClient) -> None:
    path = (await admin.post("/api/v1/channels", json=EMAIL)).headers["location"]
    got = await admin.patch(path, json={"routing_key": "A" * 32})
    assert (got.status_code, got.json()["errors"][0]["pointer"]) == (422, "/routing_key")


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ({**SLACK, "url": "http://hooks.example/x"}, "scheme"),
        ({**SLACK, "url": "https://10.0.0.1/x"}, "address"),
        ({**PAGER, "base_url": "https://hooks.example:22"}, "port"),
        ({**SLACK, "kind": "webhook", "url": "https://a:b@hooks.example/"}, "userinfo"),
    ],
)
async def test_a_channel_may_not_lead_inside(
    closed: httpx.AsyncClient, body: dict[str, Any], rule: str
) -> None:
    got = await closed.post("/api/v1/channels", json=body)
    assert (got.status_code, got.json()["code"], got.json()["rule"]) == (422, "webhook_url_refused", rule)


async def test_mail_needs_a_mail_server(closed: httpx.AsyncClient) -> None:
    got = await closed.post("/api/v1/channels", json=EMAIL)
    assert (got.status_code, got.json()["code"]) == (409, "mail_not_configured")


async def test_of_a_tenant_only_its_own(admin: httpx.AsyncClient, resources: Resources) -> None:
    path = (await admin.post("/api/v1/channels", json=EMAIL)).headers["location"]
    _, key = await add_tenant(resources, "other")
    theirs = {"X-API-Key": key}
    for method, url in (("GET", path), ("PATCH", path), ("DELETE", path), ("POST", f"{path}/test")):
        body: dict[str, Any] | None = {} if method in {"PATCH", "POST"} else None
        assert (await admin.request(method, url, json=body, headers=theirs)).status_code == 404
    assert (await admin.get("/api/v1/channels", headers=theirs)).json()["data"] == []


# Tests of a channel


async def test_a_test_of_slack_says_how_it_went(admin: httpx.AsyncClient) -> None:
    async with receiving(channels.slack) as receiver:
        made = await channels.channel(admin, "slack", url=receiver.url("/hook"))
        got = (await admin.post(f"/api/v1/channels/{made['id']}/test")).json()
        assert (got["delivered"], got["status"], got["answer"]) == (True, 200, "ok")
        assert got["address"] == "127.0.0.1"
        unknown = await admin.post(f"/api/v1/channels/{made['id']}/test", json={"kind": "no.such"})
        assert unknown.status_code == 422
        risk = await admin.post(f"/api/v1/channels/{made['id']}/test", json={"kind": "risk.band_crossed"})
        assert risk.json()["delivered"]
    texts = [body["text"] for body in channels.bodies(receiver)]
    assert texts[0] == "[info] This is a test: on call"
    assert texts[1].startswith("[critical] Risk 91 (high)")


async def test_a_wrong_routing_key_is_told_by_the_test(admin: httpx.AsyncClient) -> None:
    async with receiving(channels.pagerduty) as receiver:
        url = receiver.url("").rstrip("/")
        wrong = await channels.channel(admin, "pagerduty", routing_key="X" * 32, base_url=url)
        right = await channels.channel(admin, "pagerduty", routing_key=channels.ROUTING_KEY, base_url=url)
        told = (await admin.post(f"/api/v1/channels/{wrong['id']}/test")).json()
        assert (told["delivered"], told["status"]) == (False, 400)
        assert "Invalid routing key" in told["answer"]
        assert (await admin.post(f"/api/v1/channels/{right['id']}/test")).json()["delivered"]
    actions = [body["event_action"] for body in channels.bodies(receiver)]
    assert actions == ["trigger", "trigger", "resolve"]  # the alert of a test is closed again


async def test_a_mail_server_that_is_away_is_told_by_the_test(admin: httpx.AsyncClient) -> None:
    made = await channels.channel(admin, "email", to=["a@example.com"])
    told = (await admin.post(f"/api/v1/channels/{made['id']}/test")).json()
    assert (told["delivered"], told["error"], told["status"]) == (False, "connect", None)


async def test_a_test_by_mail_arrives(database_url: str, tmp_path: Path) -> None:
    async with (
        serving_mail() as mail,
        opened(
            database_url,
            tmp_path,
            egress_allow=make.OPEN_LOOPBACK,
            smtp_url=SecretStr(f"smtp://127.0.0.1:{mail.port}"),
        ) as found,
        api.client_of(found) as client,
    ):
        client.headers["X-API-Key"] = (await add_tenant(found, "acme"))[1]
        made = await channels.channel(client, "email", to=["a@example.com"])
        told = (await client.post(f"/api/v1/channels/{made['id']}/test")).json()
    assert (told["delivered"], told["status"]) == (True, 250)
    assert mail.mails[0]["Subject"] == "[Guardhouse][info] This is a test: on call"
