"""What a notice says to people: one sentence, a link and a few facts, as plain text that each format escapes.

Everything that came from events is hostile: control characters go, and long texts are cut.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from inspect import cleandoc
from typing import Any, Final
from urllib.parse import quote

import msgspec

from guardhouse.foundation.clock import rfc3339
from guardhouse.notices.kinds import KINDS
from guardhouse.notices.read import Notice

MAX_TITLE: Final = 240
MAX_FACT: Final = 300
MAX_FACTS: Final = 10
CLOSING: Final = (".resolved", ".recovered", "_recovered", "incident_closed")
# Controls, and what hides or turns round text (Unicode bidirectional controls, zero width, tags).
_HIDDEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]+"
)


@dataclass(frozen=True, slots=True)
class Said:
    """A notice in words. ``action`` is trigger, acknowledge or resolve."""

    title: str
    severity: str
    link: str
    facts: tuple[tuple[str, str], ...]
    action: str
    at: str
    data: Mapping[str, Any]


def say(notice: Notice, public_url: str) -> Said:
    """Return what a notice says."""
    data: dict[str, Any] = msgspec.json.decode(notice.data)
    sentence = _SENTENCES.get(notice.kind, _usual_sentence)(notice, data)
    return Said(
        title=cut(plain(sentence), MAX_TITLE),
        severity=notice.severity.value,
        link=f"{public_url}/findings?subject={quote(notice.subject, safe='')}",
        facts=tuple(_facts(data)),
        action=action_of(notice.kind, data),
        at=rfc3339(notice.occurred_at),
        data=data,
    )


def closes(kind: str) -> bool:
    """Tell whether a notice of this kind ends what an earlier one about its subject began."""
    return kind.endswith(CLOSING)


def action_of(kind: str, data: Mapping[str, Any]) -> str:
    """Return what a notice does to the alert about its subject."""
    if closes(kind):
        return "resolve"
    return "acknowledge" if data.get("status") == "acknowledged" else "trigger"


def plain(text: str) -> str:
    """Return text on one line, without what hides, breaks or turns it round."""
    return " ".join(_HIDDEN.sub(" ", text).split())


def cut(text: str, length: int) -> str:
    """Return text of at most this many characters, an ellipsis where some are missing."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _usual_sentence(notice: Notice, data: Mapping[str, Any]) -> str:
    model = KINDS.get(notice.kind)
    described = cleandoc(model.__doc__ or "").partition("\n\n")[0] if model else notice.kind
    name = data.get("name") or data.get("description")
    about = f"{name} ({notice.subject})" if isinstance(name, str) and name else notice.subject
    return f"{described.rstrip('.')}: {about}"


def _risk_sentence(_notice: Notice, data: Mapping[str, Any]) -> str:
    reasons = data.get("contributions") or ()
    why = f": {reasons[0]['why']}" if reasons else ""
    return f"Risk {data['risk']:.0f} ({data['band']}) of a process tree on {data['agent_id']}{why}"


def _closed_sentence(_notice: Notice, data: Mapping[str, Any]) -> str:
    how = "quiet for ten minutes" if data["closed_by"] == "quiet" else f"closed by {data['closed_by']}"
    why = f": {data['reason']}" if data.get("reason") else ""
    return f"Risk {data['peak_risk']:.0f} ({data['peak_band']}) of a process tree on {data['agent_id']}, {how}{why}"


def _summary_sentence(_notice: Notice, data: Mapping[str, Any]) -> str:
    return f"{data['held']} more since {data['since']}, the worst of them {data['worst']}"


def _test_sentence(_notice: Notice, data: Mapping[str, Any]) -> str:
    return f"{data['message'].rstrip('.')}: {data.get('description') or 'a channel'}"


_SENTENCES: Final[Mapping[str, Callable[[Notice, Mapping[str, Any]], str]]] = {
    "risk.band_crossed": _risk_sentence,
    "risk.incident_closed": _closed_sentence,
    "channel.summary": _summary_sentence,
    "webhook.test": _test_sentence,
}


def _facts(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    simple = [
        (name, value) for name, value in data.items() if isinstance(value, (str, int, float)) and value != ""
    ]
    for name, value in simple[:MAX_FACTS]:
        yield cut(plain(name.replace("_", " ")), 40), cut(plain(str(value)), MAX_FACT)
