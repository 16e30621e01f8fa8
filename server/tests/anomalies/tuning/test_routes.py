"""The configuration over HTTP: defaults, merge patches, versions, overrides, effects, what is refused of a patch."""

from typing import Any
from uuid import uuid4

import pytest

from server.tests.anomalies.make import make_stream, send
from server.tests.ingest.make import Door


async def patch(door: Door, body: dict[str, Any], **headers: str) -> Any:
    return await send(door, "PATCH", "/config", json=body, headers=headers)


async def test_the_defaults(door: Door) -> None:
    shown = await send(door, "GET", "/config")
    said = shown.json()
    assert shown.headers["etag"] == '"1"'
    assert {name: said[name] for name in ("version", "profile", "alert_p", "fdr_q", "warmup_events")} == {
        "version": 1,
        "profile": "balanced",
        "alert_p": 0.001,
        "fdr_q": 0.05,
        "warmup_events": 400,
    }
    assert (said["stream_overrides"], said["is_active"], said["created_by"]) == ({}, True, "system")
    assert (await patch(door, {})).json()["version"] == 1


async def test_each_change_is_a_version(door: Door) -> None:
    changed = await patch(door, {"alert_p": 0.002, "notes": "more"}, **{"if-match": '"1"'})
    assert (changed.json()["version"], changed.json()["profile"], changed.headers["etag"]) == (
        2,
        "custom",
        '"2"',
    )
    stale = await patch(door, {"alert_p": 0.003}, **{"if-match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    again = await patch(door, {"profile": "strict"})
    assert (again.json()["profile"], again.json()["alert_p"], again.json()["notes"]) == (
        "strict",
        0.0001,
        "more",
    )
    rows = await door.rows("SELECT version, is_active FROM stream_configs ORDER BY version")
    assert [tuple(row) for row in rows] == [(1, False), (2, False), (3, True)]
    actions = await door.rows("SELECT action FROM audit_log WHERE action = 'stream_config.change'")
    assert len(actions) == 2


async def test_overrides_of_types_and_streams(door: Door) -> None:
    made = await make_stream(door, "web")
    key = f"stream:{made['id']}"
    said = (await patch(door, {"stream_overrides": {"logs": {"warmup_events": 100}}})).json()
    effects = {one["stream_id"]: one["effect"] for one in said["effects"]}
    logs = (await send(door, "GET", "/streams/logs")).json()
    assert effects == {made["id"]: "recalibrate", logs["id"]: "recalibrate"}
    assert logs["calibration"]["events_needed"] == 100
    said = (await patch(door, {"stream_overrides": {key: {"profile": "strict"}}})).json()
    assert [one["stream_id"] for one in said["effects"]] == [made["id"]]
    assert (await send(door, "GET", "/streams/web")).json()["calibration"]["events_needed"] == 800
    said = (await patch(door, {"stream_overrides": {key: {"profile": None, "alert_p": 0.01}}})).json()
    assert said["stream_overrides"][key] == {"alert_p": 0.01}
    said = (await patch(door, {"stream_overrides": {key: None}})).json()
    assert said["stream_overrides"] == {"logs": {"warmup_events": 100}}
    assert said["effects"] == [{"stream_id": made["id"], "effect": "immediate"}]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"colour": 1}, "/colour"),
        ({"version": 5}, "/version"),
        ({"alert_p": 0}, "/alert_p"),
        ({"alert_p": "0.1"}, "/alert_p"),
        ({"warmup_events": 49}, "/warmup_events"),
        ({"warmup_events": 100.5}, "/warmup_events"),
        ({"permutations": 98}, "/permutations"),
        ({"ncd_threshold": 1.5}, "/ncd_threshold"),
        ({"fdr_q": True}, "/fdr_q"),
        ({"hop_size": 51}, "/hop_size"),
        ({"window_size": 101}, "/window_size"),
        ({"baseline_size": 4990}, "/baseline_size"),
        ({"profile": "loose"}, "/profile"),
        ({"profile": "custom"}, "/profile"),
        ({"mask": "all"}, "/mask"),
        ({"detector": []}, "/detector"),
        ({"notes": 5}, "/notes"),
        ({"stream_overrides": []}, "/stream_overrides"),
        ({"stream_overrides": {"weather": {}}}, "/stream_overrides/weather"),
        ({"stream_overrides": {"stream:x": {}}}, "/stream_overrides/stream:x"),
        ({"stream_overrides": {"logs": 5}}, "/stream_overrides/logs"),
        ({"stream_overrides": {"logs": {"colour": 1}}}, "/stream_overrides/logs/colour"),
        ({"stream_overrides": {"logs": {"alert_p": 5}}}, "/stream_overrides/logs/alert_p"),
        ({"stream_overrides": {"logs": {"hop_size": 90}}}, "/stream_overrides/logs/hop_size"),
    ],
    ids=str,
)
async def test_what_is_refused_of_a_patch(door: Door, body: dict[str, Any], pointer: str) -> None:
    answer = await patch(door, {"fdr_q": 0.1} | body)
    assert (answer.status_code, answer.json()["code"]) == (422, "config_invalid"), answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert {"limit", "value", "detail"} <= set(answer.json()["errors"][0])
    assert (await send(door, "GET", "/config")).json()["version"] == 1


async def test_every_fault_is_told_at_once(door: Door) -> None:
    answer = await patch(
        door, {"alert_p": 9, "mask": "x", "stream_overrides": {f"stream:{uuid4()}": {"a": 1}}}
    )
    assert len(answer.json()["errors"]) == 3


async def test_the_profiles(door: Door) -> None:
    listed = (await send(door, "GET", "/profiles")).json()["data"]
    assert [one["name"] for one in listed] == [
        "sensitive",
        "balanced",
        "strict",
        "transactions",
        "llm_safety",
    ]
    assert listed[2]["thresholds"]["alert_budget_per_day"] == 8
