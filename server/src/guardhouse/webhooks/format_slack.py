"""A notice as a Slack message: ``text`` for notifications, ``blocks`` to read; any Slack-format receiver takes it.

Source: Slack, "Formatting text" and "Block Kit" (3,000 characters a text, 50 blocks, 150 a header).
"""

from typing import Any, Final

import msgspec

from guardhouse.notices.read import Notice
from guardhouse.webhooks.say import cut, say

MAX_TEXT: Final = 3000
MAX_HEADER: Final = 150
MAX_FIELD: Final = 2000
_MARKS: Final = {
    "info": ":information_source:",
    "low": ":white_circle:",
    "medium": ":large_yellow_circle:",
    "high": ":large_orange_circle:",
    "critical": ":red_circle:",
}


def render_slack(notice: Notice, public_url: str) -> bytes:
    """Return ``{text, blocks}``."""
    said = say(notice, public_url)
    over = "Resolved: " if said.action == "resolve" else ""
    mark = ":large_green_circle:" if over else _MARKS[said.severity]
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": cut(over + said.title, MAX_HEADER)}},
        {
            "type": "section",
            "text": _marked(f"{mark} {over}{escape(said.title)}\n<{said.link}|Open in Guardhouse>"),
        },
    ]
    if said.facts:
        fields = [_marked(f"*{escape(name)}*\n{escape(value)}", MAX_FIELD) for name, value in said.facts]
        blocks.append({"type": "section", "fields": fields})
    context = _marked(f"{notice.kind} · {escape(notice.subject)} · {said.at}")
    blocks.append({"type": "context", "elements": [context]})
    text = cut(f"[{said.severity}] {over}{escape(said.title)}", MAX_TEXT)
    return msgspec.json.encode({"text": text, "blocks": blocks})


def escape(text: str) -> str:
    """Return text that Slack shows as it is: no link, no mention, no channel call can be made from it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _marked(text: str, longest: int = MAX_TEXT) -> dict[str, str]:
    return {"type": "mrkdwn", "text": cut(text, longest)}
