"""A notice as a PagerDuty event (Events API v2), without the routing key, which only the sender opens."""

import hashlib
from typing import Any, Final
from uuid import UUID

import msgspec

from guardhouse.notices.read import Notice
from guardhouse.webhooks.say import cut, say

MAX_SUMMARY: Final = 1024
MAX_DEDUP_KEY: Final = 255
_SEVERITIES: Final = {
    "info": "info",
    "low": "info",
    "medium": "warning",
    "high": "error",
    "critical": "critical",
}


def render_pagerduty(notice: Notice, public_url: str) -> bytes:
    """Return the event; notices of one subject have one ``dedup_key``, so a resolve closes what a trigger opened."""
    said = say(notice, public_url)
    kind, _, name = notice.subject.partition(":")
    payload: dict[str, Any] = {
        "summary": cut(said.title, MAX_SUMMARY),
        "source": cut(str(said.data.get("agent_id") or public_url), MAX_SUMMARY),
        "severity": _SEVERITIES[said.severity],
        "timestamp": said.at,
        "component": cut(name or kind, MAX_SUMMARY),
        "group": notice.kind.partition(".")[0],
        "class": notice.kind,
        "custom_details": said.data,
    }
    return msgspec.json.encode(
        {
            "event_action": said.action,
            "dedup_key": dedup_key(notice.tenant_id, notice.subject),
            "payload": payload,
            "client": "Guardhouse",
            "client_url": public_url,
            "links": [{"href": said.link, "text": "Open in Guardhouse"}],
        }
    )


def dedup_key(tenant_id: UUID, subject: str) -> str:
    """Return ``tenant:subject``; one that is too long ends in a digest instead."""
    key = f"{tenant_id}:{subject}"
    if len(key) <= MAX_DEDUP_KEY:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f"{key[: MAX_DEDUP_KEY - len(digest) - 1]}:{digest}"
