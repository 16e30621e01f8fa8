"""A signed sample sent now: what a test of an endpoint sends, and how it went."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

import msgspec

from guardhouse.foundation import correlation
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import ValidationFailed
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Resources
from guardhouse.notices.kind import NoticeData
from guardhouse.notices.kinds import KINDS
from guardhouse.notices.publish import publish
from guardhouse.notices.read import Notice, Position
from guardhouse.notices.webhook_kinds import WebhookTest
from guardhouse.webhooks import formats, send, sign, store
from guardhouse.webhooks.formats import LEGACY, STANDARD, RenderContext
from guardhouse.webhooks.legacy_bodies import KIND_OF, NAME_OF
from guardhouse.webhooks.send import Destination, Message, Outcome
from guardhouse.webhooks.store import Endpoint
from guardhouse.webhooks.subscription import format_for, sendable_kinds

SECONDS: Final = 5.0
HIDDEN: Final = "***"


@dataclass(frozen=True, slots=True)
class Tried:
    """How a sample went and with which headers; custom ones are masked."""

    outcome: Outcome
    headers: dict[str, str]


def destination_of(resources: Resources, endpoint: Endpoint) -> Destination:
    """Return an endpoint as samples are sent to it: within five seconds."""
    return replace(send.open_destination(resources.master_key, endpoint), timeout_seconds=SECONDS)


def throwaway(url: str) -> Destination:
    """Return a URL that is no endpoint yet, with a secret that nobody keeps."""
    key = sign.key_of(sign.new_secret())
    return Destination(UUID(int=0), "webhook", {}, url, key, None, None, None, {}, SECONDS)


def data_of(endpoint_id: UUID, description: str | None, kind: str) -> Mapping[str, Any]:
    """Return what a sample of a kind says: its example; of a test, the endpoint itself.

    Raises:
        ValidationFailed: no kind that is delivered.
    """
    kind = KIND_OF.get(kind, kind)
    if kind == WebhookTest.kind:
        return _test(endpoint_id, description).model_dump(mode="json")
    model: type[NoticeData] | None = KINDS.get(kind)
    if model is not None and not model.live_only:
        return model.example
    if kind in NAME_OF:
        return {"request_id": "req-sample", "result": {"sample": True}, "metadata": {}}
    kinds = sendable_kinds()
    raise ValidationFailed(
        f"{kind[:100]!r} is no kind of notice that is delivered.",
        errors=[{"pointer": "/kind", "code": "unknown", "detail": f"none of {', '.join(kinds)}"}],
        kinds=kinds,
    )


async def send_sample(
    resources: Resources, destination: Destination, endpoint: Endpoint | None, kind: str
) -> Tried:
    """Send a sample now. No transaction may be open meanwhile.

    Raises:
        ValidationFailed: no kind that is delivered.
    """
    now = resources.clock.now()
    data = data_of(destination.endpoint_id, endpoint.description if endpoint else None, kind)
    kind = KIND_OF.get(kind, kind)
    patterns = endpoint.kinds if endpoint else ()
    flat = kind not in KINDS or KINDS[kind].by_name_only or format_for(patterns, kind) == LEGACY
    form = LEGACY if flat else STANDARD
    notice = Notice(
        position=Position(0, 0, 0),
        notice_id=new_id(),
        tenant_id=endpoint.tenant_id if endpoint else UUID(int=0),
        kind=kind,
        version=1,
        severity=_test(destination.endpoint_id, None).severity,
        subject="webhook:sample",
        subject_seq=0,
        data=msgspec.json.encode(data).decode(),
        api_key_id=None,
        project_id=None,
        correlation_id=correlation.current(),
        occurred_at=now,
    )
    message = Message(
        id=notice.notice_id,
        delivery_id=new_id(),
        event_type=formats.event_type(form, notice),
        severity=notice.severity,
        correlation_id=notice.correlation_id,
        replay=False,
        body=formats.render(form, notice, RenderContext(resources.settings.public_url)),
    )
    headers = send.headers_of(destination, message, now)
    outcome = await send.send(resources.outbound, destination, message, now)
    return Tried(outcome, headers | dict.fromkeys(destination.headers, HIDDEN))


async def say_tested(tx: Tx, endpoint: Endpoint) -> None:
    """Publish that an endpoint was tested; it does not hear of it itself."""
    number = await store.next_notice(tx, endpoint.id)
    if number is not None:
        data = _test(endpoint.id, endpoint.description)
        await publish(tx, data, tenant_id=endpoint.tenant_id, subject_seq=number)


def _test(endpoint_id: UUID, description: str | None) -> WebhookTest:
    return WebhookTest(endpoint_id=endpoint_id, description=description, message="This is a test.")
