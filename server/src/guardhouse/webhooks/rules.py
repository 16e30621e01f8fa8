"""Whether a notice goes to an endpoint: the one place of fan-out where that is decided."""

from typing import Final
from uuid import UUID

from guardhouse.notices.channel_kinds import ChannelSummary
from guardhouse.notices.kinds import KINDS
from guardhouse.notices.read import Notice
from guardhouse.webhooks.formats import STANDARD
from guardhouse.webhooks.store import Endpoint
from guardhouse.webhooks.subscription import format_for

SUBJECT_PREFIX: Final = "webhook:"


def subject_of(endpoint_id: UUID) -> str:
    """Return the subject of notices about an endpoint itself."""
    return f"{SUBJECT_PREFIX}{endpoint_id}"


def admits(endpoint: Endpoint, notice: Notice) -> str | None:
    """Return the format in which a notice goes to an endpoint of its tenant, or None when it does not go.

    An endpoint never hears of itself, nor of what whoever registered it may not read.
    """
    model = KINDS.get(notice.kind)
    if model is None or model.live_only:
        return None
    if endpoint.channel_config and notice.kind == ChannelSummary.kind:
        return _own_summary(endpoint, notice)
    form = format_for(endpoint.kinds, notice.kind)
    if form is None or not endpoint.filter.passes(notice):
        return None
    if endpoint.scopes is not None and model.scope not in endpoint.scopes:
        return None
    if notice.kind.startswith("webhook.") and notice.subject == subject_of(endpoint.id):
        return None
    return form if endpoint.channel == "webhook" else endpoint.channel


def _own_summary(endpoint: Endpoint, notice: Notice) -> str | None:
    """A channel tells how much it held back itself, whatever its kinds, and never of another channel."""
    if notice.subject != f"channel:{endpoint.id}":
        return None
    return STANDARD if endpoint.channel == "webhook" else endpoint.channel
