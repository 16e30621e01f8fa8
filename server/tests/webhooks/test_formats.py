import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from guardhouse.foundation.errors import ValidationFailed
from guardhouse.identity.refusals import ScopeMissing
from guardhouse.notices.kind import Severity
from guardhouse.notices.kinds import KINDS
from guardhouse.notices.read import Notice, Position
from guardhouse.webhooks import formats, legacy_bodies
from guardhouse.webhooks.formats import LEGACY, STANDARD, RenderContext
from guardhouse.webhooks.legacy_bodies import KIND_OF
from guardhouse.webhooks.narrow import Filter, filter_of, stored_form
from guardhouse.webhooks.subscription import check_kinds, format_for, sendable_kinds

HERE = RenderContext("https://guard.example")


def notice(kind: str, data: object) -> Notice:
    return Notice(
        position=Position(1, 2, 3),
        notice_id=UUID(int=1),
        tenant_id=UUID(int=2),
        kind=kind,
        version=1,
        severity=Severity.MEDIUM,
        subject="x:1",
        subject_seq=1,
        data=json.dumps(data, indent=1),
        api_key_id=UUID(int=5),
        project_id=None,
        correlation_id="req-1",
        occurred_at=datetime(2026, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC),
    )


def test_the_standard_body_is_type_timestamp_and_data() -> None:
    body = formats.render(STANDARD, notice("key.revoked", {"name": "ß", "n": [1, 2]}), HERE)
    assert body.decode() == (
        '{"type":"key.revoked","timestamp":"2026-01-01T12:00:00.500Z","data":{"name":"ß","n":[1,2]}}'
    )


def test_the_flat_bodies_of_legacy_names() -> None:
    done = notice(
        "detection.completed", {"request_id": "r1", "result": {"is_injection": True}, "metadata": {"k": "v"}}
    )
    assert json.loads(formats.render(LEGACY, done, HERE)) == {
        "event": "detection_complete",
        "request_id": "r1",
        "result": {"is_injection": True},
        "metadata": {"k": "v"},
        "timestamp": 1767268800.5,
        "api_key_id": str(UUID(int=5)),
    }
    bare = json.loads(formats.render(LEGACY, notice("rate_limit.exceeded", {"limit": 60}), HERE))
    assert (bare["event"], bare["request_id"], bare["result"]) == (
        "rate_limit_exceeded",
        "req-1",
        {"limit": 60},
    )
    crossed = notice(
        legacy_bodies.RISK_THRESHOLD,
        {"process_id": "p", "risk_score": 81, "threshold": 80, "crossed_at": "2026-01-01T00:00:00Z"},
    )
    assert json.loads(formats.render(LEGACY, crossed, HERE)) == {
        "event_type": "risk_threshold_crossed",
        "process_id": "p",
        "risk_score": 81,
        "threshold": 80,
        "timestamp": 1767225600.0,
    }
    assert formats.event_type(LEGACY, done) == "detection_complete"
    assert formats.event_type(STANDARD, done) == "detection.completed"


def test_the_legacy_names_of_published_kinds_agree() -> None:
    for kind, model in KINDS.items():
        if model.legacy_name is not None:
            assert KIND_OF[model.legacy_name] == kind


@pytest.mark.parametrize(
    ("patterns", "kind", "form"),
    [
        (("key.created",), "key.created", STANDARD),
        (("key.*",), "key.created", STANDARD),
        (("*",), "key.created", STANDARD),
        (("risk.*",), "key.created", None),
        (("detection_complete",), "detection.completed", LEGACY),
        (("detection_complete", "detection.*"), "detection.completed", LEGACY),
        (("detection.*",), "detection.completed", STANDARD),
        (("detection_complete",), "detection.failed", None),
        (("risk_threshold_crossed",), "risk_threshold_crossed", LEGACY),
    ],
)
def test_who_hears_what_in_which_format(patterns: tuple[str, ...], kind: str, form: str | None) -> None:
    assert format_for(patterns, kind) == form


def test_what_may_be_asked_for() -> None:
    everything = frozenset({model.scope for model in KINDS.values()})
    check_kinds(["*", "key.*", "risk.band_crossed", *KIND_OF], everything)
    check_kinds(["key.created"], None)
    for wrong in ("nothing", "telemetry.received", "sorcery.*", "key.?", "[", "k" * 101, "key"):
        with pytest.raises(ValidationFailed) as refused:
            check_kinds(["*", wrong], everything)
        assert refused.value.errors[0]["pointer"] == "/kinds/1"
        assert refused.value.extensions["kinds"] == sendable_kinds()
    with pytest.raises(ScopeMissing):
        check_kinds(["key.created"], frozenset({"scores:read"}))


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        (Filter(), True),
        (Filter(min_severity=Severity.MEDIUM), True),
        (Filter(min_severity=Severity.HIGH), False),
        (Filter(api_key_id=UUID(int=5)), True),
        (Filter(api_key_id=UUID(int=6)), False),
        (Filter(project_id=UUID(int=5)), False),
        (Filter(subject_prefix="x:"), True),
        (Filter(subject_prefix="y:"), False),
        (Filter(label="blue"), True),
        (Filter(label="red"), True),
        (Filter(label="green"), False),
    ],
)
def test_a_filter_narrows_and_survives_storing(wanted: Filter, passes: bool) -> None:  # noqa: FBT001 - a table
    told = notice("key.revoked", {"label": "blue", "labels": ["red"]})
    assert filter_of(stored_form(wanted)) == wanted
    assert wanted.passes(told) is passes
