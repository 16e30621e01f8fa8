"""From a notice to the receiver, through the real loops: signed, tried again, dead, stopped, in order."""

import json

from standardwebhooks import Webhook

from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources
from server.tests.components.receiver import Receiver, answer
from server.tests.webhooks import make


async def test_a_notice_arrives_signed_and_once(
    resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    _, secret = await make.endpoint_and_secret(resources, tenant, receiver.url("/hook"))
    async with make.running(resources):
        await make.say(resources, tenant, 1, 2, 3)
        await make.until_states(resources, delivered=3)
    assert len(receiver.requests) == 3
    for request in receiver.requests:
        Webhook(secret).verify(request.body, request.headers)
        assert request.headers["x-event-type"] == "key.revoked"
    assert {json.loads(request.body)["data"]["name"] for request in receiver.requests} == {"n1", "n2", "n3"}
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 3


async def test_a_failure_is_tried_again_and_then_dead(
    resources: Resources, tenant: TenantKey, receiver: Receiver
) -> None:
    receiver.behave = answer(500, b"no")
    await make.endpoint(resources, tenant, receiver.url(), preset="custom", steps=(0.05, 0.05))
    async with make.running(resources):
        await make.say(resources, tenant, 1)
        await make.until_states(resources, exhausted=1)
    ids = {request.headers["webhook-id"] for request in receiver.requests}
    assert (len(receiver.requests), len(ids)) == (3, 1)
    tries = await make.rows(
        resources, "SELECT number, outcome, status, answer FROM webhook_attempts ORDER BY number"
    )
    assert [tuple(row) for row in tries] == [(n, "rejected", 500, b"no") for n in (1, 2, 3)]
    said = await make.rows(
        resources, "SELECT data->>'tries' AS tries FROM notices WHERE kind = 'webhook.exhausted'"
    )
    assert [row["tries"] for row in said] == ["3"]
