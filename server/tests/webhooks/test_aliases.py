"""The short paths: shapes of earlier products over the same endpoints, for the calling key alone."""

import httpx
import pytest

from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources
from guardhouse.identity.keys import NewKey
from guardhouse.notices.publish import Origin
from server.tests.components.receiver import Receiver
from server.tests.webhooks import make


async def test_the_life_of_a_registration(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    made = await admin.post("/webhooks/register", json={"url": receiver.url(), "someday": True})
    assert made.status_code == 201
    hook = made.json()
    assert (hook["events"], hook["secret_token"], hook["is_active"]) == (["detection_complete"], "***", True)
    assert hook["secret"].startswith("whsec_")
    own = {"url": receiver.url(), "events": ["key.revoked"], "secret_token": "sixteen or more characters"}
    second = (await admin.post("/webhooks/register", json=own)).json()
    assert second["secret"] is None
    listed = (await admin.get("/webhooks/list")).json()
    assert (listed["total"], [one["webhook_id"] for one in listed["webhooks"]]) == (
        2,
        [hook["webhook_id"], second["webhook_id"]],
    )
    tested = (await admin.post("/webhooks/test", json={"webhook_id": second["webhook_id"]})).json()
    assert tested["delivered"]
    assert (await admin.post("/webhooks/test", json={"url": receiver.url("/new")})).json()["delivered"]
    (key,) = await make.rows(resources, "SELECT key_id FROM api_keys")
    async with make.running(resources):
        await make.say(resources, tenant, 1)
        await make.say(resources, tenant, 2, origin=Origin(api_key_id=key["key_id"]))
        await make.until_states(resources, delivered=1)
    (delivery,) = (await admin.get(f"/webhooks/{second['webhook_id']}/deliveries")).json()["deliveries"]
    assert (delivery["status"], delivery["status_code"], delivery["event"]) == (
        "delivered",
        200,
        "key.revoked",
    )
    for active in (False, True):
        flipped = await admin.put(f"/webhooks/{hook['webhook_id']}/toggle")
        assert flipped.json()["is_active"] is active
    assert (await admin.delete(f"/webhooks/{hook['webhook_id']}")).status_code == 204
    assert (await admin.get("/webhooks/list")).json()["total"] == 1


async def test_another_key_of_the_tenant_finds_nothing(
    admin: httpx.AsyncClient, resources: Resources, tenant: TenantKey
) -> None:
    hook = (await admin.post("/webhooks/register", json={"url": "https://nowhere.invalid/"})).json()
    other = {"X-API-Key": await make.key(resources, tenant, NewKey("other", "admin"))}
    assert (await admin.get("/webhooks/list", headers=other)).json()["total"] == 0
    path = f"/webhooks/{hook['webhook_id']}"
    assert (await admin.put(f"{path}/toggle", headers=other)).status_code == 404
    assert (await admin.delete(path, headers=other)).status_code == 404
    assert (await admin.get(f"{path}/deliveries", headers=other)).status_code == 404


@pytest.mark.parametrize("body", [{}, {"url": "x", "webhook_id": "00000000-0000-0000-0000-000000000007"}])
async def test_a_test_names_one_target(admin: httpx.AsyncClient, body: dict[str, str]) -> None:
    assert (await admin.post("/webhooks/test", json=body)).status_code == 422
