"""Deliveries to a URL that came with a call: no endpoint was registered, the rules and the signing are the same.

Each URL of a tenant is an endpoint of the channel ``adhoc``: it hears of nothing by itself, is in no list, and is
signed with the tenant's own secret for such deliveries. What is tried three times is given up.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid5

from guardhouse.foundation.database import Tx
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.resources import Resources
from guardhouse.notices.kind import NoticeData
from guardhouse.notices.publish import Draft, Origin
from guardhouse.notices.read import Notice, Position
from guardhouse.webhooks import adhoc_store, delivery_store, fan_out, formats, store, wake_store
from guardhouse.webhooks.delivery_store import NewDelivery
from guardhouse.webhooks.endpoints import AFRESH
from guardhouse.webhooks.formats import STANDARD, RenderContext
from guardhouse.webhooks.schedule import PRESETS
from guardhouse.webhooks.send import secret_purpose
from guardhouse.webhooks.store import Endpoint
from guardhouse.webhooks.subscription import format_for

CHANNEL: Final = "adhoc"
KEPT: Final = timedelta(days=3)  # after its last delivery
MOST_URLS: Final = 100  # of a tenant, at a time
_PRESET: Final = "three_strikes"


@dataclass(frozen=True, slots=True)
class Letter:
    """A notice for a URL, to be published under the id that it has in its draft."""

    url: str = field(repr=False)
    draft: Draft


def letter(url: str, data: NoticeData, tenant_id: UUID, origin: Origin) -> Letter:
    """Return a notice that goes to a URL, and to whoever else listens."""
    return Letter(url, Draft(data, tenant_id, 1, origin, new_id()))


def secret_of(resources: Resources, tenant_id: UUID) -> str:
    """Return the secret that signs a tenant's deliveries without an endpoint; it changes with the master key only."""
    name = b"guardhouse ad-hoc webhooks " + tenant_id.bytes
    digest = hmac.digest(resources.master_key.generations[0], name, hashlib.sha256)
    return "whsec_" + base64.b64encode(digest).decode()


async def post(tx: Tx, resources: Resources, letters: list[Letter]) -> None:
    """Make the deliveries of letters; their notices are published in the same transaction."""
    if not letters:
        return
    now = resources.clock.now()
    at: datetime = await tx.fetch_value("SELECT now()")  # which is when those notices occurred
    endpoints = {
        key: await _endpoint(tx, resources, *key, now)
        for key in sorted({(one.draft.tenant_id, one.url) for one in letters}, key=str)
    }
    context = RenderContext(resources.settings.public_url)
    messages, deliveries = [], []
    for one in letters:
        notice = _notice(one, at)
        found = fan_out.message_id(notice, STANDARD)
        body = formats.render(STANDARD, notice, context)
        messages.append(fan_out.message_of(found, STANDARD, notice, body))
        endpoint = endpoints[one.draft.tenant_id, one.url]
        deliveries.append(
            NewDelivery(
                new_id(), at, notice.tenant_id, endpoint, found, 0, notice.kind, notice.subject, ordered=False
            )
        )
    await delivery_store.add_messages(tx, messages)
    await delivery_store.add_deliveries(tx, deliveries, now)
    for endpoint in endpoints.values():
        await wake_store.notify_changed(tx, endpoint)
    await wake_store.notify_due(tx, sorted(endpoints.values()))


async def has_room(tx: Tx, tenant_id: UUID, url: str) -> bool:
    """Tell whether a tenant may deliver to a URL: it does already, or not to too many others.

    Calls at the same moment may pass the limit by their number.
    """
    return await adhoc_store.count_others(tx, tenant_id, CHANNEL, uuid5(tenant_id, url)) < MOST_URLS


async def prune(tx: Tx, now: datetime) -> int:
    """Forget URLs that nothing was sent to lately; returns how many."""
    return await store.delete_unused(tx, CHANNEL, now - KEPT)


async def is_heard(tx: Tx, tenant_id: UUID, kind: str, key_id: str) -> bool:
    """Tell whether an endpoint of a tenant takes a kind of notice about a key."""
    found = await store.load_endpoints(tx, list(await store.list_versions(tx, [tenant_id])))
    return any(_hears(endpoint, kind, key_id) for endpoint in found)


def _hears(endpoint: Endpoint, kind: str, key_id: str) -> bool:
    only = endpoint.filter.api_key_id
    return format_for(endpoint.kinds, kind) is not None and (only is None or str(only) == key_id)


async def _endpoint(tx: Tx, resources: Resources, tenant_id: UUID, url: str, now: datetime) -> UUID:
    endpoint_id = uuid5(tenant_id, url)
    secret = secret_of(resources, tenant_id).encode()
    values = {
        **AFRESH,
        "id": endpoint_id,
        "tenant_id": tenant_id,
        "shard": store.shard_of(endpoint_id),
        "channel": CHANNEL,
        "channel_config": {},
        "url": url,
        "kinds": [],
        "filter": {},
        "preset": _PRESET,
        "steps": list(PRESETS[_PRESET]),
        "timeout_ms": 15_000,
        "concurrency": 8,
        "fifo": False,
        "secret": resources.master_key.seal(secret, secret_purpose(endpoint_id)),
        "replays": 0,
        "notices": 0,
        "version": 1,
        "created_by": CHANNEL,
        "created_at": now,
        "updated_at": now,
    }
    await store.put_endpoint(tx, values, afresh=AFRESH)
    return endpoint_id


def _notice(one: Letter, at: datetime) -> Notice:
    data, origin = one.draft.data, one.draft.origin
    return Notice(
        position=Position(0, 0, 0),
        notice_id=one.draft.notice_id or new_id(),
        tenant_id=one.draft.tenant_id,
        kind=data.kind,
        version=data.version,
        severity=data.severity,
        subject=data.subject,
        subject_seq=one.draft.subject_seq,
        data=data.model_dump_json(),
        api_key_id=origin.api_key_id,
        project_id=origin.project_id,
        correlation_id=origin.correlation_id or "",
        occurred_at=at,
    )
