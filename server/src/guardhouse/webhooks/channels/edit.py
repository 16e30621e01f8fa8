"""Make, find, change and remove channels: endpoints with a format and rules, kept by the endpoints' own operations.

What is secret of a channel (an incoming-webhook URL, a routing key) is sealed like a webhook's secret.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import NotFound, Problem, ValidationFailed
from guardhouse.foundation.resources import Resources
from guardhouse.identity.caller import Caller
from guardhouse.webhooks import endpoints
from guardhouse.webhooks.channels import store
from guardhouse.webhooks.channels.config import PAGERDUTY_URL, ChannelConfig, read_config, stored_form
from guardhouse.webhooks.endpoints import NewEndpoint
from guardhouse.webhooks.narrow import Filter
from guardhouse.webhooks.send import secret_purpose
from guardhouse.webhooks.store import Endpoint, get_endpoint

# Which members only some kinds of channel have.
_ONLY: Final[Mapping[str, frozenset[str]]] = {
    "url": frozenset({"webhook", "slack"}),
    "routing_key": frozenset({"pagerduty"}),
    "base_url": frozenset({"pagerduty"}),
    "to": frozenset({"email"}),
}


class MailNotConfigured(Problem):
    """This installation has no mail server, so no channel by mail can be made."""

    status, code, title = 409, "mail_not_configured", "Mail is not configured"
    remediation = (
        "Have the operator set GUARDHOUSE_SMTP_URL and GUARDHOUSE_MAIL_FROM, or use another channel."
    )


@dataclass(frozen=True, slots=True)
class NewChannel:
    """What a channel should be. ``secret``: the URL of a Slack channel, the routing key of a PagerDuty one."""

    kind: str
    config: ChannelConfig
    kinds: tuple[str, ...]
    filter: Filter
    target: str
    secret: str | None = None


async def make(tx: Tx, resources: Resources, caller: Caller, wanted: NewChannel) -> tuple[Endpoint, str]:
    """Make a channel and return it with its secret.

    Raises:
        MailNotConfigured: a channel by mail without a mail server.
        ValidationFailed: a kind of notice that is not delivered.
        ScopeMissing: kinds that the caller may not read.
        Conflict: the tenant has 50 of this kind already.
    """
    if wanted.kind == "email" and resources.settings.smtp_url is None:
        raise MailNotConfigured("There is no mail server.")
    new = NewEndpoint(
        url=wanted.target,
        kinds=wanted.kinds,
        secret=wanted.secret,
        filter=wanted.filter,
        description=wanted.config.name,
        concurrency=4,
        channel=wanted.kind,
        channel_config=stored_form(wanted.config),
    )
    return await endpoints.register(tx, resources, caller, new)


async def get(tx: Tx, caller: Caller, channel_id: UUID, *, lock: bool = False) -> Endpoint:
    """Return one channel of the caller's tenant.

    Raises:
        NotFound: there is none.
    """
    found = await get_endpoint(tx, caller.tenant.id, channel_id, lock=lock)
    if found is None or not found.channel_config:
        raise NotFound("There is no such channel.")
    return found


async def change(
    tx: Tx, resources: Resources, caller: Caller, channel: Endpoint, changes: Mapping[str, Any]
) -> Endpoint:
    """Change a channel; ``changes`` has members of the wire's ``ChannelChange`` in the stored form.

    Raises:
        ValidationFailed: a member that this kind of channel does not have.
        ScopeMissing: kinds that the caller may not read.
    """
    wrong = [name for name, kinds in _ONLY.items() if name in changes and channel.channel not in kinds]
    if wrong:
        raise ValidationFailed(
            f"A channel of kind {channel.channel} has no {wrong[0]}.",
            errors=[
                {"pointer": f"/{name}", "code": "not_of_kind", "detail": f"not for {channel.channel}"}
                for name in wrong
            ],
        )
    state = changes.get("state")
    changed = await endpoints.change(tx, resources, caller, channel, _columns(resources, channel, changes))
    if state == "active":
        return await endpoints.enable(tx, resources, caller, changed)
    return changed if state is None else await endpoints.disable(tx, resources, caller, changed)


async def remove(tx: Tx, resources: Resources, caller: Caller, channel: Endpoint) -> None:
    """Remove a channel; what is pending for it is cancelled and what it said is forgotten."""
    await store.forget(tx, channel.id)
    await endpoints.remove(tx, resources, caller, channel)


def shown(url: str) -> str:
    """Return as much of a secret URL as may be shown: where it goes."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/***"


def _columns(resources: Resources, channel: Endpoint, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the endpoint's members that a change touches."""
    config, narrowed = read_config(channel.channel_config), channel.filter
    own = {name: changes[name] for name in ChannelConfig.__struct_fields__ if name in changes}
    narrowing = {name: changes[name] for name in ("min_severity", "project_id") if name in changes}
    columns: dict[str, Any] = {}
    if own:
        columns["channel_config"] = stored_form(msgspec.structs.replace(config, **own))
    if "name" in own:
        columns["description"] = own["name"]
    if narrowing:
        columns["filter"] = replace(narrowed, **narrowing)
    if "kinds" in changes:
        columns["kinds"] = changes["kinds"]
    if "base_url" in changes:
        columns["url"] = changes["base_url"] or PAGERDUTY_URL
    if "url" in changes:
        columns["url"] = shown(changes["url"]) if channel.channel == "slack" else changes["url"]
    secret = changes.get("routing_key") or (changes.get("url") if channel.channel == "slack" else None)
    if secret is not None:
        columns["secret"] = resources.master_key.seal(secret.encode(), secret_purpose(channel.id))
    return columns
