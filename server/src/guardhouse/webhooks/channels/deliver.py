"""Send a message the way its destination wants it: signed, as a Slack message, a PagerDuty event or a mail."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from guardhouse.foundation import outbound
from guardhouse.foundation.egress import EgressRefused
from guardhouse.foundation.outbound import Answer
from guardhouse.foundation.resources import Resources
from guardhouse.webhooks import send
from guardhouse.webhooks.channels.send_mail import send_mail
from guardhouse.webhooks.schedule import read_retry_after
from guardhouse.webhooks.send import (
    ANSWER_KEPT_BYTES,
    ANSWER_READ_BYTES,
    THROTTLING,
    Delivered,
    Destination,
    Message,
    Outcome,
    Rejected,
    Unreachable,
)

_ENQUEUE: Final = "/v2/enqueue"
_UNSIGNED: Final = ""


async def deliver(resources: Resources, destination: Destination, message: Message, at: datetime) -> Outcome:
    """Send one message and return how it went; never raises for what the other side does."""
    if destination.channel in {"webhook", "adhoc"}:
        return await send.send(resources.outbound, destination, message, at)
    if destination.channel == "email":
        return await send_mail(resources, destination, message, at)
    return await _post(resources, destination, message, at)


async def _post(resources: Resources, destination: Destination, message: Message, at: datetime) -> Outcome:
    url, body = _addressed(destination, message)
    try:
        answer = await resources.outbound.send(
            "POST",
            url,
            headers={"content-type": "application/json", "user-agent": send.USER_AGENT},
            body=body,
            timeout_seconds=destination.timeout_seconds,
            max_bytes=ANSWER_READ_BYTES,
        )
    except EgressRefused as refused:
        return Rejected(None, f"address_refused: {refused.rule}", 0.0, None, b"", _UNSIGNED)
    except outbound.Unreachable as failed:
        return Unreachable(failed.reason, 0.0, failed.address, _UNSIGNED)
    return judge_answer(destination.channel, answer, at)


def _addressed(destination: Destination, message: Message) -> tuple[str, bytes]:
    """Return URL and body; what is secret of either is added here and stored nowhere."""
    if destination.channel == "slack":
        return destination.key.decode(), message.body
    event: dict[str, object] = msgspec.json.decode(message.body)
    event = {"routing_key": destination.key.decode(), **event}
    return destination.url.rstrip("/") + _ENQUEUE, msgspec.json.encode(event)


def judge_answer(channel: str, answer: Answer, at: datetime) -> Outcome:
    """Return what an answer of Slack or PagerDuty means; 429 and 5xx are tried again, after ``Retry-After``."""
    head = answer.body[:ANSWER_KEPT_BYTES]
    if _ACCEPTED[channel](answer):
        return Delivered(answer.status, answer.latency_ms, answer.address, head, _UNSIGNED)
    gone = channel == "slack" and answer.status in {404, 410}
    wait = read_retry_after(answer.headers.get("retry-after"), at) if answer.status in THROTTLING else None
    return Rejected(
        answer.status,
        "channel_gone" if gone else f"HTTP {answer.status}",
        answer.latency_ms,
        answer.address,
        head,
        _UNSIGNED,
        retry_after=wait,
        gone=gone,
        permanent=answer.status == 400,  # noqa: PLR2004 - neither takes a bad event the second time
    )


def _slack_accepts(answer: Answer) -> bool:
    """Slack says ``ok``; other receivers of its format may say nothing."""
    return answer.status == 200 and answer.body.strip() in {b"ok", b""}  # noqa: PLR2004 - as documented there


def _pagerduty_accepts(answer: Answer) -> bool:
    return answer.status == 202  # noqa: PLR2004 - as documented there


_ACCEPTED: Final[Mapping[str, Callable[[Answer], bool]]] = {
    "slack": _slack_accepts,
    "pagerduty": _pagerduty_accepts,
}
