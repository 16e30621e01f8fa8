"""What people read: Slack, PagerDuty and mail, each with text that means harm."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from guardhouse.notices.kind import Severity
from guardhouse.notices.kinds import KINDS
from guardhouse.notices.read import Notice, Position
from guardhouse.webhooks.format_mail import Mail
from guardhouse.webhooks.format_pagerduty import dedup_key
from guardhouse.webhooks.formats import MAIL, PAGERDUTY, SLACK, RenderContext, render
from guardhouse.webhooks.say import closes, plain, say

CONTEXT = RenderContext("https://guard.example")
TENANT = UUID(int=5)
HOSTILE = (
    "<!channel> <https://evil.example|click> *x* & \r\nBcc: a@b\x00\u202e\u200b<script>alert(1)</script>"
)


def notice(kind: str, *, severity: Severity = Severity.HIGH, subject: str = "key:7", **data: Any) -> Notice:
    return Notice(
        position=Position(1, 1, 1),
        notice_id=UUID(int=9),
        tenant_id=TENANT,
        kind=kind,
        version=1,
        severity=severity,
        subject=subject,
        subject_seq=1,
        data=json.dumps(data or dict(KINDS[kind].example)),
        api_key_id=None,
        project_id=None,
        correlation_id="req-1",
        occurred_at=datetime(2026, 1, 15, 12, tzinfo=UTC),
    )


def rendered(form: str, found: Notice) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(render(form, found, CONTEXT))
    return body


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("form", [SLACK, PAGERDUTY, MAIL])
def test_every_kind_can_be_said(kind: str, form: str) -> None:
    assert rendered(form, notice(kind))


def test_a_slack_message() -> None:
    found = rendered(SLACK, notice("risk.band_crossed", severity=Severity.CRITICAL, subject="incident:1"))
    sentence = "Risk 91 (high) of a process tree on web-1: socket on fd 0,1,2, then /bin/sh started"
    assert found["text"] == f"[critical] {sentence}"
    assert found["blocks"][0] == {"type": "header", "text": {"type": "plain_text", "text": sentence}}
    link = "https://guard.example/findings?subject=incident%3A1"
    assert found["blocks"][1]["text"]["text"] == f":red_circle: {sentence}\n<{link}|Open in Guardhouse>"


def test_hostile_text_is_shown_and_does_nothing_in_slack() -> None:
    found = rendered(SLACK, notice("key.revoked", key_id="7", name=HOSTILE, actor=HOSTILE))
    markup = [found["text"], found["blocks"][1]["text"]["text"].partition("\n")[0]]
    markup += [field["text"] for field in found["blocks"][2]["fields"]]
    assert "&lt;!channel&gt;" in markup[0]
    for text in markup:
        assert not {"<", "\x00", "\r", "\u202e", "\u200b"} & set(text.replace("\n", ""))


def test_slack_limits_are_kept() -> None:
    long = {f"fact_{n}": "&" * 20_000 for n in range(40)}
    found = rendered(SLACK, notice("key.revoked", name="n" * 9000, **long))
    assert len(found["text"]) <= 3000
    assert len(found["blocks"]) <= 50
    assert len(found["blocks"][0]["text"]["text"]) <= 150
    fields = found["blocks"][2]["fields"]
    assert len(fields) <= 10
    assert all(len(field["text"]) <= 2000 for field in fields)


@pytest.mark.parametrize(
    ("severity", "said"),
    list(zip(Severity, ["info", "info", "warning", "error", "critical"], strict=True)),
)
def test_a_pagerduty_event(severity: Severity, said: str) -> None:
    found = rendered(PAGERDUTY, notice("risk.band_crossed", severity=severity, subject="incident:1"))
    assert found["event_action"] == "trigger"
    assert found["dedup_key"] == f"{TENANT}:incident:1"
    assert "routing_key" not in found
    payload = found["payload"]
    assert (payload["severity"], payload["source"], payload["class"]) == (said, "web-1", "risk.band_crossed")
    assert (payload["group"], payload["component"]) == ("risk", "1")
    assert payload["timestamp"] == "2026-01-15T12:00:00.000Z"
    assert payload["custom_details"]["risk"] == 91.42
    assert found["links"][0]["href"] == "https://guard.example/findings?subject=incident%3A1"


def test_a_resolve_has_the_key_of_its_trigger() -> None:
    began = rendered(PAGERDUTY, notice("webhook.endpoint_disabled", subject="webhook:1"))
    ended = rendered(PAGERDUTY, notice("webhook.endpoint_recovered", subject="webhook:1"))
    assert (began["event_action"], ended["event_action"]) == ("trigger", "resolve")
    assert began["dedup_key"] == ended["dedup_key"]


@pytest.mark.parametrize("kind", ["incident.resolved", "agent.recovered", "risk.incident_closed"])
def test_what_ends_an_alert(kind: str) -> None:
    assert closes(kind)
    assert not closes("incident.opened")


def test_pagerduty_limits_are_kept() -> None:
    found = rendered(PAGERDUTY, notice("key.revoked", subject="key:" + "x" * 900, name="n" * 9000))
    assert len(found["payload"]["summary"]) <= 1024
    assert len(found["dedup_key"]) == 255
    assert dedup_key(TENANT, "key:" + "x" * 900) != dedup_key(TENANT, "key:" + "x" * 901)


def test_an_acknowledged_alert() -> None:
    found = rendered(PAGERDUTY, notice("key.revoked", name="n", status="acknowledged"))
    assert found["event_action"] == "acknowledge"


def test_a_mail() -> None:
    body = render(MAIL, notice("risk.band_crossed", severity=Severity.CRITICAL), CONTEXT)
    mail = msgspec.json.decode(body, type=Mail)
    assert mail.subject.startswith("[Guardhouse][critical] Risk 91 (high) of a process tree on web-1: ")
    assert "\nrisk: 91.42\n" in mail.text
    assert "https://guard.example/findings?subject=key%3A7" in mail.text
    assert "<td>91.42</td>" in mail.html
    same = msgspec.json.decode(render(MAIL, notice("key.revoked"), CONTEXT), type=Mail)
    assert same.thread == mail.thread


def test_hostile_text_is_shown_and_does_nothing_in_a_mail() -> None:
    found = rendered(MAIL, notice("key.revoked", key_id="7", name=HOSTILE, actor=HOSTILE))
    assert "<script" not in found["html"]
    assert "&lt;script&gt;" in found["html"]
    assert "\r" not in found["subject"] + found["text"]
    assert "\n" not in found["subject"]
    assert len(found["subject"]) <= 200


def test_what_hides_in_text_is_taken_out() -> None:
    assert plain(" a\r\nb\x00c\u202ed\u2066e\u200bf\ufeffg\U000e0041h  i ") == "a b c d e f g h i"


def test_a_summary_counts() -> None:
    data = {"channel_id": str(UUID(int=1)), "held": 41, "since": "2026-01-15T11:00:00.000Z", "worst": "high"}
    said = say(notice("channel.summary", **data), CONTEXT.public_url)
    assert said.title == "41 more since 2026-01-15T11:00:00.000Z, the worst of them high"
