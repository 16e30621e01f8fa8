"""Send one message to one destination, signed, and say how it went; never raises for what a receiver does.

No transaction is open meanwhile. A destination is an endpoint with its secrets opened.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guardhouse.foundation import outbound
from guardhouse.foundation.egress import EgressRefused
from guardhouse.foundation.outbound import Answer, Outbound
from guardhouse.foundation.seal import MasterKey
from guardhouse.webhooks import sign
from guardhouse.webhooks.schedule import read_retry_after
from guardhouse.webhooks.sign import SigningKeys
from guardhouse.webhooks.store import Endpoint

ANSWER_READ_BYTES: Final = 64 << 10
ANSWER_KEPT_BYTES: Final = 1000
USER_AGENT: Final = "Guardhouse-Webhooks/1"
GONE: Final = 410
THROTTLING: Final = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Destination:
    """Where and how messages of one endpoint go. The previous secret signs too, before ``previous_until``."""

    endpoint_id: UUID
    channel: str
    config: Mapping[str, object]
    url: str = field(repr=False)
    key: bytes = field(repr=False)
    previous_key: bytes | None = field(repr=False)
    previous_until: datetime | None
    private: Ed25519PrivateKey | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    timeout_seconds: float

    def keys(self, now: datetime) -> SigningKeys:
        """Return what signs at an instant."""
        both = self.previous_key is not None and self.previous_until is not None and now < self.previous_until
        symmetric = (self.key, self.previous_key) if both and self.previous_key else (self.key,)
        return SigningKeys(symmetric, self.private)


@dataclass(frozen=True, slots=True)
class Message:
    """One delivery of one message: the bytes as stored, and what its headers say."""

    id: UUID
    delivery_id: UUID
    event_type: str
    severity: str
    correlation_id: str
    replay: bool
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver took it."""

    status: int
    latency_ms: float
    address: str | None
    answer: bytes
    signature: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The receiver answered something else, or our own rules refused the address.

    ``retry_after`` is in seconds, ``gone``: it wants nothing ever again, ``permanent``: this message never.
    """

    status: int | None
    error: str
    latency_ms: float
    address: str | None
    answer: bytes
    signature: str
    retry_after: float | None = None
    gone: bool = False
    permanent: bool = False


@dataclass(frozen=True, slots=True)
class Unreachable:
    """There was no answer; ``error`` is dns, connect, timeout, tls, reset or protocol."""

    error: str
    latency_ms: float
    address: str | None
    signature: str


Outcome = Delivered | Rejected | Unreachable


def secret_purpose(endpoint_id: UUID) -> str:
    """Return what secrets of an endpoint are sealed for."""
    return f"webhook {endpoint_id}"


def open_destination(master_key: MasterKey, endpoint: Endpoint) -> Destination:
    """Return an endpoint with its secrets opened.

    Raises:
        CannotOpen: they were sealed under a master key that is not configured.
    """
    purpose = secret_purpose(endpoint.id)

    def opened(sealed: bytes) -> bytes:
        return master_key.open(sealed, purpose)

    previous, private, headers = endpoint.previous_secret, endpoint.private_key, endpoint.headers
    return Destination(
        endpoint_id=endpoint.id,
        channel=endpoint.channel,
        config=endpoint.channel_config,
        url=endpoint.url,
        key=sign.key_of(opened(endpoint.secret).decode()),
        previous_key=None if previous is None else sign.key_of(opened(previous).decode()),
        previous_until=endpoint.previous_until,
        private=None if private is None else Ed25519PrivateKey.from_private_bytes(opened(private)),
        headers={} if headers is None else msgspec.json.decode(opened(headers), type=dict[str, str]),
        timeout_seconds=endpoint.timeout_ms / 1000,
    )


def headers_of(destination: Destination, message: Message, at: datetime) -> dict[str, str]:
    """Return the headers of one try, signed with what lives at that instant; none of ours can be overwritten."""
    keys = destination.keys(at)
    sent_id, timestamp = sign.webhook_id(message.id), int(at.timestamp())
    headers = {
        **destination.headers,
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "webhook-id": sent_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign.signature(keys, sent_id, timestamp, message.body),
        "x-signature": sign.body_signature(keys.symmetric[0], message.body),
        "x-event-type": message.event_type,
        "x-delivery-id": str(message.delivery_id),
        "x-correlation-id": message.correlation_id or str(message.delivery_id),
    }
    if message.replay:
        headers["guardhouse-replay"] = "1"
    return headers


async def send(door: Outbound, destination: Destination, message: Message, at: datetime) -> Outcome:
    """POST the message as stored and return how it went; ``at`` is the time it is signed with."""
    headers = headers_of(destination, message, at)
    signature = headers["webhook-signature"]
    began = time.perf_counter()
    try:
        answer = await door.send(
            "POST",
            destination.url,
            headers=headers,
            body=message.body,
            timeout_seconds=destination.timeout_seconds,
            max_bytes=ANSWER_READ_BYTES,
        )
    except EgressRefused as refused:
        return Rejected(None, f"address_refused: {refused.rule}", _since(began), None, b"", signature)
    except outbound.Unreachable as failed:
        return Unreachable(failed.reason, _since(began), failed.address, signature)
    return judge_answer(answer, signature, at)


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000


def judge_answer(answer: Answer, signature: str, at: datetime) -> Outcome:
    """Return what an answer means: any 2xx is success, a redirect is not followed, 410 is for good."""
    head = answer.body[:ANSWER_KEPT_BYTES]
    if 200 <= answer.status < 300:  # noqa: PLR2004 - RFC 9110 §15.3
        return Delivered(answer.status, answer.latency_ms, answer.address, head, signature)
    redirect = 300 <= answer.status < 400  # noqa: PLR2004 - RFC 9110 §15.4
    wait = read_retry_after(answer.headers.get("retry-after"), at) if answer.status in THROTTLING else None
    return Rejected(
        answer.status,
        "redirect_refused" if redirect else f"HTTP {answer.status}",
        answer.latency_ms,
        answer.address,
        head,
        signature,
        retry_after=wait,
        gone=answer.status == GONE,
    )
