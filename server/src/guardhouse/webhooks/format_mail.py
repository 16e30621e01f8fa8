"""A notice as a mail: subject, text and HTML; the envelope is added by the sender."""

import hashlib
from dataclasses import dataclass
from html import escape
from typing import Final

import msgspec

from guardhouse.notices.read import Notice
from guardhouse.webhooks.say import Said, cut, say

MAX_SUBJECT: Final = 200


class Mail(msgspec.Struct, frozen=True):
    """What a mail says. ``thread`` is the same for all mails about one subject, so that they stand together."""

    subject: str
    text: str
    html: str
    thread: str


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    value: str


def render_mail(notice: Notice, public_url: str) -> bytes:
    """Return a :class:`Mail` as JSON."""
    said = say(notice, public_url)
    over = "Resolved: " if said.action == "resolve" else ""
    lines = [_Line(*fact) for fact in said.facts]
    lines += [_Line("kind", notice.kind), _Line("about", notice.subject), _Line("at", said.at)]
    mail = Mail(
        subject=cut(f"[Guardhouse][{said.severity}] {over}{said.title}", MAX_SUBJECT),
        text=_text(said, over, lines),
        html=_html(said, over, lines),
        thread=hashlib.sha256(f"{notice.tenant_id}:{notice.subject}".encode()).hexdigest()[:32],
    )
    return msgspec.json.encode(mail)


def _text(said: Said, over: str, lines: list[_Line]) -> str:
    facts = "\n".join(f"{line.name}: {line.value}" for line in lines)
    return f"{over}{said.title}\n\n{facts}\n\n{said.link}\n"


def _html(said: Said, over: str, lines: list[_Line]) -> str:
    rows = "".join(
        f'<tr><th align="left">{escape(line.name)}</th><td>{escape(line.value)}</td></tr>' for line in lines
    )
    return (
        f'<!doctype html><html lang="en"><body><p><strong>{escape(over + said.title)}</strong></p>'
        f'<table cellpadding="4">{rows}</table><p><a href="{escape(said.link)}">Open in Guardhouse</a></p>'
        "</body></html>"
    )
