"""Whether a notice goes to an endpoint: the one place of fan-out where that is decided."""

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec

from guardhouse.notices.kind import Severity
from guardhouse.notices.kinds import KINDS
from guardhouse.notices.read import Notice
from guardhouse.webhooks.store import Endpoint
from guardhouse.webhooks.subscription import format_for

SUBJECT_PREFIX: Final = "webhook:"


@dataclass(frozen=True, slots=True)
class Filter:
    """What narrows an endpoint beyond its kinds; absent members let everything pass."""

    min_severity: Severity = Severity.INFO
    project_id: UUID | None = None
    api_key_id: UUID | None = None
    label: str | None = None
    subject_prefix: str | None = None


def filter_of(stored: dict[str, Any]) -> Filter:
    """Return the filter as stored with an endpoint."""
    return msgspec.convert(stored, Filter, strict=False)


def subject_of(endpoint_id: UUID) -> str:
    """Return the subject of notices about an endpoint itself."""
    return f"{SUBJECT_PREFIX}{endpoint_id}"


def admits(endpoint: Endpoint, notice: Notice) -> str | None:
    """Return the format in which a notice goes to an endpoint of its tenant, or None when it does not go.

    An endpoint never hears of itself, nor of what whoever registered it may not read.
    """
    model = KINDS.get(notice.kind)
    if model is None or model.live_only or notice.subject == subject_of(endpoint.id):
        return None
    if endpoint.scopes is not None and model.scope not in endpoint.scopes:
        return None
    form = format_for(endpoint.kinds, notice.kind)
    if form is None or not _passes(filter_of(endpoint.filter), notice):
        return None
    return form if endpoint.channel == "webhook" else endpoint.channel


def _passes(wanted: Filter, notice: Notice) -> bool:
    return (
        notice.severity.rank >= wanted.min_severity.rank
        and wanted.project_id in {None, notice.project_id}
        and wanted.api_key_id in {None, notice.api_key_id}
        and (wanted.subject_prefix is None or notice.subject.startswith(wanted.subject_prefix))
        and (wanted.label is None or _has_label(notice, wanted.label))
    )


def _has_label(notice: Notice, label: str) -> bool:
    data = msgspec.json.decode(notice.data)
    return label == data.get("label") or label in (data.get("labels") or ())
