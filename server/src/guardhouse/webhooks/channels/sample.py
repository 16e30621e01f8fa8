"""A sample sent to a channel now, and how it went."""

from dataclasses import replace

import msgspec

from guardhouse.foundation import correlation
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Resources
from guardhouse.notices.kind import NoticeData, Severity
from guardhouse.notices.kinds import KINDS
from guardhouse.notices.read import Notice, Position
from guardhouse.webhooks import formats
from guardhouse.webhooks import sample as endpoint_sample
from guardhouse.webhooks.channels.deliver import deliver
from guardhouse.webhooks.formats import STANDARD, RenderContext
from guardhouse.webhooks.send import Delivered, Message, Outcome
from guardhouse.webhooks.store import Endpoint


async def send_sample(resources: Resources, channel: Endpoint, kind: str) -> Outcome:
    """Send a sample within five seconds; an alert that it opened is closed at once. No transaction may be open.

    Raises:
        ValidationFailed: no kind that is delivered.
    """
    destination = endpoint_sample.destination_of(resources, channel)
    now = resources.clock.now()
    notice = _notice(resources, channel, kind)
    form = STANDARD if channel.channel == "webhook" else channel.channel
    message = Message(
        id=notice.notice_id,
        delivery_id=new_id(),
        event_type=notice.kind,
        severity=notice.severity,
        correlation_id=notice.correlation_id,
        replay=False,
        body=formats.render(form, notice, RenderContext(resources.settings.public_url)),
    )
    outcome = await deliver(resources, destination, message, now)
    if channel.channel == "pagerduty" and isinstance(outcome, Delivered):
        await deliver(resources, destination, replace(message, body=_resolving(message.body)), now)
    return outcome


def _notice(resources: Resources, channel: Endpoint, kind: str) -> Notice:
    data = dict(endpoint_sample.data_of(channel.id, channel.description, kind))
    model: type[NoticeData] | None = KINDS.get(kind)
    return Notice(
        position=Position(0, 0, 0),
        notice_id=new_id(),
        tenant_id=channel.tenant_id,
        kind=kind,
        version=1,
        severity=model.model_validate(data).severity if model else Severity.INFO,
        subject=f"channel:{channel.id}",
        subject_seq=0,
        data=msgspec.json.encode(data).decode(),
        api_key_id=None,
        project_id=None,
        correlation_id=correlation.current(),
        occurred_at=resources.clock.now(),
    )


def _resolving(body: bytes) -> bytes:
    event: dict[str, object] = msgspec.json.decode(body)
    return msgspec.json.encode({**event, "event_action": "resolve"})
