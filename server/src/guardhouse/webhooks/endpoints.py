"""Endpoints by hand: register, change, rotate the secret, stop, go on, remove.

A secret is in the answer that makes it and nowhere else; at rest it is sealed for its endpoint.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from guardhouse.audit.record import Entry
from guardhouse.audit.record import record as audit
from guardhouse.foundation.database import Tx
from guardhouse.foundation.egress import EgressRefused
from guardhouse.foundation.errors import Conflict, NotFound, Problem
from guardhouse.foundation.ids import new_id
from guardhouse.foundation.outbound import Outbound, Unreachable
from guardhouse.foundation.resources import Resources
from guardhouse.identity.caller import Caller
from guardhouse.webhooks import delivery_store, rules, sign, store, wake_store
from guardhouse.webhooks.narrow import Filter, stored_form
from guardhouse.webhooks.schedule import PRESETS
from guardhouse.webhooks.send import secret_purpose
from guardhouse.webhooks.store import Endpoint
from guardhouse.webhooks.subscription import check_kinds

MOST: Final = 50
CANCELLED_AT_ONCE: Final = 10_000
AFRESH: Final[Mapping[str, Any]] = {
    "state": "active",
    "reason": None,
    "resume_at": None,
    "breaker": None,
    "first_failure_at": None,
    "last_failure_at": None,
    "failing_since": None,
}


class WebhookUrlRefused(Problem):
    """Deliveries may not go to this URL; ``rule`` names what it is against."""

    status, code, title = 422, "webhook_url_refused", "Webhook URL refused"
    remediation = (
        "Give an https URL of a host with public addresses, or have its network opened by the operator."
    )


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """What an endpoint should be. ``steps`` are the pauses of a ``custom`` preset, in seconds."""

    url: str = field(repr=False)
    kinds: Sequence[str]
    description: str | None = None
    secret: str | None = field(default=None, repr=False)
    filter: Filter = field(default_factory=Filter)
    preset: str = "standard"
    steps: Sequence[float] = ()
    timeout_ms: int = 15_000
    concurrency: int = 8
    rate_per_second: float | None = None
    fifo: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    asymmetric: bool = False
    channel: str = "webhook"
    channel_config: Mapping[str, Any] = field(default_factory=dict)


def owner_of(caller: Caller, *scopes: str) -> str | None:
    """Return whose endpoints a caller may touch: None for the tenant's, its own credential for its own alone."""
    return None if caller.scopes.intersection(scopes) else caller.credential_id


def narrowed(caller: Caller, wanted: NewEndpoint, owner: str | None) -> tuple[NewEndpoint, bool]:
    """Return an endpoint as its caller may have it: without the tenant's scope it hears of its own key only."""
    if owner is None or caller.kind != "key":
        return wanted, False
    return replace(wanted, filter=replace(wanted.filter, api_key_id=UUID(caller.credential_id))), True


async def check_destination(door: Outbound, url: str, pointer: str = "/url") -> str | None:
    """Judge a URL by its text and by what its name resolves to; returns a warning when it does not resolve yet.

    No transaction may be open meanwhile.

    Raises:
        WebhookUrlRefused: against a rule of outgoing requests.
    """
    try:
        await door.resolve(url)
    except EgressRefused as refused:
        raise WebhookUrlRefused(
            str(refused),
            rule=refused.rule,
            errors=[{"pointer": pointer, "code": refused.rule, "detail": str(refused)}],
        ) from None
    except Unreachable:
        return "The host name does not resolve now; deliveries will be tried all the same."
    return None


async def register(
    tx: Tx, resources: Resources, caller: Caller, wanted: NewEndpoint, *, own: bool = False
) -> tuple[Endpoint, str]:
    """Make an endpoint and return it with its secret. ``own``: it hears of the caller's key only.

    Raises:
        ValidationFailed: a kind that is not delivered.
        ScopeMissing: kinds that the caller may not read.
        Conflict: the tenant has 50 already.
    """
    check_kinds(wanted.kinds, None if own else caller.scopes)
    if await store.count_endpoints(tx, caller.tenant.id, wanted.channel) >= MOST:
        raise Conflict(f"A tenant has at most {MOST} endpoints.", limit=MOST)
    now, endpoint_id = resources.clock.now(), new_id()
    secret = wanted.secret or sign.new_secret()
    private, public = sign.new_private_key() if wanted.asymmetric else (None, None)
    values = _settings_of(wanted) | {
        "id": endpoint_id,
        "tenant_id": caller.tenant.id,
        "shard": store.shard_of(endpoint_id),
        "channel": wanted.channel,
        "scopes": None if own else sorted(caller.scopes),
        "headers": _seal_headers(resources, endpoint_id, wanted.headers),
        "secret": _seal(resources, endpoint_id, secret.encode()),
        "private_key": None if private is None else _seal(resources, endpoint_id, private),
        "public_key": public,
        "state": "active",
        "replays": 0,
        "notices": 0,
        "version": 1,
        "created_by": caller.credential_id,
        "created_at": now,
        "updated_at": now,
    }
    made = await store.add_endpoint(tx, values)
    await _changed(tx, caller, made, "webhook.create", after=_told(made))
    return made, secret


async def get(
    tx: Tx, caller: Caller, endpoint_id: UUID, *, owner: str | None, lock: bool = False
) -> Endpoint:
    """Return one endpoint of the caller's tenant; somebody else's looks like none when only own ones count.

    Raises:
        NotFound: there is none.
    """
    found = await store.get_endpoint(tx, caller.tenant.id, endpoint_id, lock=lock)
    if found is None or found.channel != "webhook" or owner not in {None, found.created_by}:
        raise NotFound("There is no such webhook.")
    return found


async def change(
    tx: Tx, resources: Resources, caller: Caller, endpoint: Endpoint, changes: Mapping[str, Any]
) -> Endpoint:
    """Change settings of an endpoint; a new URL starts with a clean slate.

    ``changes`` has members of :class:`NewEndpoint` (not the secret, which is rotated).

    Raises:
        ValidationFailed: a kind that is not delivered.
        ScopeMissing: kinds that neither the caller nor whoever registered it may read.
    """
    if not changes:
        return endpoint
    values: dict[str, Any] = {**changes, "updated_at": resources.clock.now()}
    if "kinds" in changes:
        check_kinds(changes["kinds"], endpoint.scopes and caller.scopes)
        if endpoint.scopes is not None:
            values["scopes"] = sorted(caller.scopes)
    if "filter" in changes:
        own = endpoint.scopes is None  # registered for one key: it stays with that key
        key = endpoint.filter.api_key_id if own else changes["filter"].api_key_id
        values["filter"] = stored_form(replace(changes["filter"], api_key_id=key))
    if "preset" in changes:
        values["steps"] = list(changes.get("steps") or PRESETS[changes["preset"]])
    if "headers" in changes:
        values["headers"] = _seal_headers(resources, endpoint.id, changes["headers"])
    if "asymmetric" in changes:
        del values["asymmetric"]
        values |= _asymmetric(resources, endpoint, wanted=changes["asymmetric"])
    if changes.get("url", endpoint.url) != endpoint.url and endpoint.takes:
        values |= AFRESH
    changed = await store.update_endpoint(tx, endpoint.id, values)
    if changed.fifo != endpoint.fifo:
        await delivery_store.order_pending(tx, endpoint.id, resources.clock.now(), fifo=changed.fifo)
    before, after = _told(endpoint), _told(changed)
    differing = {name for name in after if after[name] != before[name]}
    await _changed(
        tx, caller, changed, "webhook.update",
        before={name: before[name] for name in differing}, after={name: after[name] for name in differing},
    )  # fmt: skip
    return changed


async def rotate_secret(
    tx: Tx, resources: Resources, caller: Caller, endpoint: Endpoint, grace_seconds: int
) -> tuple[Endpoint, str]:
    """Make a new secret; the one before signs beside it until the grace ends."""
    now, secret = resources.clock.now(), sign.new_secret()
    values = {
        "secret": _seal(resources, endpoint.id, secret.encode()),
        "previous_secret": endpoint.secret if grace_seconds else None,
        "previous_until": now + timedelta(seconds=grace_seconds) if grace_seconds else None,
        "updated_at": now,
    }
    changed = await store.update_endpoint(tx, endpoint.id, values)
    await _changed(
        tx, caller, changed, "webhook.rotate_secret", after={"previous_until": changed.previous_until}
    )
    return changed, secret


async def drop_previous(tx: Tx, resources: Resources, caller: Caller, endpoint: Endpoint) -> Endpoint:
    """End the secret before the present one now; repeatable."""
    if endpoint.previous_secret is None:
        return endpoint
    changed = await store.update_endpoint(
        tx,
        endpoint.id,
        {"previous_secret": None, "previous_until": None, "updated_at": resources.clock.now()},
    )
    await _changed(tx, caller, changed, "webhook.drop_previous_secret")
    return changed


async def enable(tx: Tx, resources: Resources, caller: Caller, endpoint: Endpoint) -> Endpoint:
    """Let deliveries be made and sent again, with a clean slate; repeatable."""
    if endpoint.state == "active":
        return endpoint
    changed = await store.update_endpoint(tx, endpoint.id, {**AFRESH, "updated_at": resources.clock.now()})
    await _changed(tx, caller, changed, "webhook.enable", before={"state": endpoint.state})
    return changed


async def disable(tx: Tx, resources: Resources, caller: Caller, endpoint: Endpoint) -> Endpoint:
    """Stop by hand: nothing new is made, what is pending waits; repeatable."""
    if not endpoint.takes:
        return endpoint
    changed = await store.update_endpoint(
        tx, endpoint.id, {"state": "paused", "reason": "by_hand", "updated_at": resources.clock.now()}
    )
    await _changed(tx, caller, changed, "webhook.disable", before={"state": endpoint.state})
    return changed


async def remove(tx: Tx, resources: Resources, caller: Caller, endpoint: Endpoint) -> None:
    """Delete an endpoint; what is pending for it is cancelled, its history goes with its days."""
    now = resources.clock.now()
    await store.delete_endpoint(tx, endpoint.id)
    await delivery_store.cancel_pending(tx, endpoint.id, replay=None, now=now, limit=CANCELLED_AT_ONCE)
    await _changed(tx, caller, endpoint, "webhook.delete", before=_told(endpoint))


def _settings_of(wanted: NewEndpoint) -> dict[str, Any]:
    return {
        "channel_config": dict(wanted.channel_config),
        "url": wanted.url,
        "description": wanted.description,
        "kinds": list(wanted.kinds),
        "filter": stored_form(wanted.filter),
        "preset": wanted.preset,
        "steps": list(wanted.steps or PRESETS[wanted.preset]),
        "timeout_ms": wanted.timeout_ms,
        "concurrency": wanted.concurrency,
        "rate_per_second": wanted.rate_per_second,
        "fifo": wanted.fifo,
    }


def _asymmetric(resources: Resources, endpoint: Endpoint, *, wanted: bool) -> dict[str, Any]:
    if wanted == (endpoint.private_key is not None):
        return {}
    if not wanted:
        return {"private_key": None, "public_key": None}
    private, public = sign.new_private_key()
    return {"private_key": _seal(resources, endpoint.id, private), "public_key": public}


def _seal(resources: Resources, endpoint_id: UUID, secret: bytes) -> bytes:
    return resources.master_key.seal(secret, secret_purpose(endpoint_id))


def _seal_headers(resources: Resources, endpoint_id: UUID, headers: Mapping[str, str]) -> bytes | None:
    return _seal(resources, endpoint_id, msgspec.json.encode(dict(headers))) if headers else None


def _told(endpoint: Endpoint) -> dict[str, Any]:
    """Return what the audit log keeps of an endpoint: its settings, nothing sealed."""
    return {
        "url": endpoint.url,
        "description": endpoint.description,
        "kinds": list(endpoint.kinds),
        "filter": stored_form(endpoint.filter),
        "preset": endpoint.preset,
        "steps": list(endpoint.steps),
        "timeout_ms": endpoint.timeout_ms,
        "concurrency": endpoint.concurrency,
        "rate_per_second": endpoint.rate_per_second,
        "fifo": endpoint.fifo,
        "asymmetric": endpoint.private_key is not None,
        "state": endpoint.state,
    } | (
        {"channel": {"kind": endpoint.channel, **endpoint.channel_config}} if endpoint.channel_config else {}
    )


async def _changed(
    tx: Tx,
    caller: Caller,
    endpoint: Endpoint,
    action: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    await wake_store.notify_changed(tx, endpoint.id)
    await audit(tx, caller.actor, Entry(action, rules.subject_of(endpoint.id), before, after))
