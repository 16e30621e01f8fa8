"""Verdicts end to end: the next time the same evidence weighs less, visibly, and replays stay equal to the byte."""

from datetime import datetime, timedelta
from typing import Any

import httpx

from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from server.tests.components.hosts import Host, attack, score_everything
from server.tests.ingest.make import Door

PROCESSES = "/api/v1/processes"
ROOT, SHELL = "web-1:{}:a", "web-1:{}:k"


async def get(door: Door, path: str, **query: Any) -> Any:
    answer = await door.client.get(path, params=query, headers={"x-api-key": door.key})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def say(door: Door, process: str, verdict: str, **more: Any) -> httpx.Response:
    key = more.pop("key", door.key)
    headers = {"x-api-key": key, **more.pop("headers", {})}
    path = f"{PROCESSES}/{process}/verdict"
    return await door.client.post(path, json={"verdict": verdict} | more, headers=headers)


async def said(door: Door, process: str, verdict: str, **more: Any) -> dict[str, Any]:
    answer = await say(door, process, verdict, **more)
    assert answer.status_code == 201, answer.text
    shape: dict[str, Any] = answer.json()
    return shape


async def key_of(door: Door, role: str) -> str:
    answer = await door.post("/api/v1/keys", {"name": role, "role": role})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["api_key"])


async def act(host: Host, resources: Resources, at: datetime, turn: int) -> tuple[str, str]:
    """Do the same deed once more, as processes of their own; returns (server, shell)."""
    events = attack(at + timedelta(minutes=turn), first_pid=4000 + 100 * turn, seq=1000 * turn)
    await host.accepted(events)
    await score_everything(resources)
    return ROOT.format(4000 + 100 * turn), SHELL.format(4001 + 100 * turn)


def weights(explanation: dict[str, Any]) -> dict[str, float]:
    return {part["id"]: part["decayed_from"] for part in explanation["contributions"]}


async def equal_everywhere(door: Door) -> None:
    for process in (await get(door, PROCESSES, limit=1000))["data"]:
        body = {"process_id": process["id"]}
        answer = await door.post("/api/v1/scores:recalculate", body)
        assert answer.json()["recalculation"]["equal"] is True, process["id"]


async def test_a_false_alarm_lowers_the_next_occurrence_and_says_so(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    begin = clock.now() - timedelta(hours=2)
    root, shell = await act(host, resources, begin, 0)
    first = await get(door, f"{PROCESSES}/{shell}")
    verdict = await said(door, root, "false_alarm", note="the nightly check of the red team")
    assert {part["id"] for part in verdict["evidence"]} >= {"rule.shell_on_socket", "rule.credential_read"}
    assert {part["exe"] for part in verdict["evidence"]} == {"/usr/bin/python3", "/bin/sh"}
    assert (await get(door, f"{PROCESSES}/{shell}"))["risk"] == first["risk"]  # the past stays what it was

    _, shell = await act(host, resources, begin, 1)
    second = await get(door, f"{PROCESSES}/{shell}")
    assert second["risk"] < first["risk"]
    assert second["tree_risk"] < first["tree_risk"]
    before, after = weights(first["explanation"]), weights(second["explanation"])
    assert before.keys() == after.keys()
    assert all(after[name] < before[name] for name in before)
    told = {item["id"]: item for item in second["explanation"]["suppressed"]}
    assert told.keys() == after.keys()
    for name, item in told.items():
        assert item["why"] == "answered as a false alarm once: counts as 1 of 10 runs"
        assert abs(item["would_be_nats"] + after[name] - before[name]) < 0.01

    root, shell = await act(host, resources, begin, 2)
    assert (await get(door, f"{PROCESSES}/{shell}"))["risk"] == second["risk"]
    await said(door, root, "false_alarm")
    _, shell = await act(host, resources, begin, 3)
    third = await get(door, f"{PROCESSES}/{shell}")
    assert third["risk"] < second["risk"]
    assert {item["why"] for item in third["explanation"]["suppressed"]} == {
        "answered as a false alarm 2 times: counts as 2 of 10 runs"
    }
    await equal_everywhere(door)


async def test_what_is_expected_counts_nothing_until_it_is_taken_back(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    begin = clock.now() - timedelta(hours=2)
    _, shell = await act(host, resources, begin, 0)
    verdict = await said(door, shell, "expected", evidence=["rule.credential_read"])
    assert [(part["id"], part["exe"]) for part in verdict["evidence"]] == [
        ("rule.credential_read", "/bin/sh")
    ]
    _, shell = await act(host, resources, begin, 1)
    why = (await get(door, f"{PROCESSES}/{shell}"))["explanation"]
    assert "rule.credential_read" not in weights(why)
    assert "rule.shell_on_socket" in weights(why)
    assert [(item["id"], item["would_be_nats"], item["why"]) for item in why["suppressed"]] == [
        ("rule.credential_read", 1.1, "answered as expected")
    ]
    answer = await door.client.delete(
        f"{PROCESSES}/{verdict['process_id']}/verdicts/{verdict['id']}", headers={"x-api-key": door.key}
    )
    assert answer.status_code == 204, answer.text
    _, shell = await act(host, resources, begin, 2)
    why = (await get(door, f"{PROCESSES}/{shell}"))["explanation"]
    assert weights(why)["rule.credential_read"] == 1.1
    assert why["suppressed"] == []
    await equal_everywhere(door)
    (listed,) = (await get(door, f"{PROCESSES}/{verdict['process_id']}/verdicts"))["data"]
    assert listed["ended_at"] is not None
    assert listed["ended_by"] == listed["person"] == verdict["person"]


async def test_the_newest_answers_are_used_when_a_score_is_computed_as_of_now(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    _, shell = await act(host, resources, clock.now() - timedelta(hours=2), 0)
    before = await get(door, f"{PROCESSES}/{shell}")
    await said(door, shell, "expected")
    found = {}
    for mode in ("verify", "current"):
        answer = await door.post("/api/v1/scores:recalculate", {"process_id": shell, "mode": mode})
        found[mode] = answer.json()
    assert found["verify"]["risk"] == before["risk"]
    assert found["verify"]["recalculation"]["equal"] is True
    assert found["current"]["risk"] < before["risk"]
    assert found["current"]["recalculation"]["equal"] is False


async def test_the_latest_word_of_a_person_stands_beside_those_of_others(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    begin = clock.now() - timedelta(hours=2)
    _, shell = await act(host, resources, begin, 0)
    other = await key_of(door, "analyst")
    await said(door, shell, "expected")
    await said(door, shell, "false_alarm")
    await said(door, shell, "false_alarm", key=other)
    listed = (await get(door, f"{PROCESSES}/{shell}/verdicts"))["data"]
    assert [(row["verdict"], row["ended_at"] is None) for row in listed] == [
        ("false_alarm", True),
        ("false_alarm", True),
        ("expected", False),
    ]
    assert len({row["person"] for row in listed}) == 2
    again = shell
    _, shell = await act(host, resources, begin, 1)
    why = (await get(door, f"{PROCESSES}/{shell}"))["explanation"]
    assert {item["why"] for item in why["suppressed"]} == {
        "answered as a false alarm 2 times: counts as 2 of 10 runs"
    }
    await said(door, again, "confirmed")
    _, shell = await act(host, resources, begin, 2)
    why = (await get(door, f"{PROCESSES}/{shell}"))["explanation"]
    assert {item["why"] for item in why["suppressed"]} == {
        "answered as a false alarm once: counts as 1 of 10 runs"
    }
    pages: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while not pages or pages[-1]["pagination"]["has_more"]:
        pages.append(await get(door, f"{PROCESSES}/{again}/verdicts", limit=1, **cursor))
        cursor = {"cursor": pages[-1]["pagination"]["cursor"]}
    assert [row["verdict"] for page in pages for row in page["data"]] == [
        "confirmed",
        "false_alarm",
        "false_alarm",
        "expected",
    ]


async def test_a_verdict_is_given_once_under_its_key_and_audited(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    _, shell = await act(host, resources, clock.now() - timedelta(hours=2), 0)
    headers = {"idempotency-key": "v-1"}
    one = await say(door, shell, "false_alarm", headers=headers)
    two = await say(door, shell, "false_alarm", headers=headers)
    assert (one.status_code, one.json()) == (two.status_code, two.json())
    assert two.headers["idempotency-replayed"] == "true"
    assert await door.count("verdicts") == 1
    path = f"{PROCESSES}/{shell}/verdicts/{one.json()['id']}"
    for _ in range(2):  # taking back what is taken back changes nothing
        assert (await door.client.delete(path, headers={"x-api-key": door.key})).status_code == 204
    rows = await door.rows("SELECT action, target FROM audit_log WHERE action LIKE 'verdict.%' ORDER BY seq")
    assert [tuple(row) for row in rows] == [
        ("verdict.give", f"process:{shell}"),
        ("verdict.withdraw", f"process:{shell}"),
    ]


async def test_what_cannot_be_answered_is_refused(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    _, shell = await act(host, resources, clock.now() - timedelta(hours=2), 0)
    await host.accepted([{"pid": 9, "syscall": "read", "seq": 9000, "timestamp": clock.now().isoformat()}])
    await score_everything(resources)
    refused = await say(door, shell, "expected", evidence=["rule.nothing"])
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/evidence")
    assert (await say(door, "web-1:9", "expected")).json()["code"] == "conflict"
    assert (await say(door, "web-1:9", "confirmed")).status_code == 201
    assert (await say(door, "web-1:77", "confirmed")).status_code == 404
    for body in (
        {"verdict": "maybe"},
        {"verdict": "expected", "evidence": "rule.recon"},
        {"verdict": "expected", "note": ""},
        {"verdict": "expected", "note": "x" * 2001},
        {"verdict": "expected", "evidence": ["x" * 121]},
        {"verdict": "expected", "process": 1},
    ):
        assert (await door.post(f"{PROCESSES}/{shell}/verdict", body)).status_code == 422, body
    assert (
        await door.client.get(f"{PROCESSES}/web-1:77/verdicts", headers={"x-api-key": door.key})
    ).status_code == 404
    unknown = f"{PROCESSES}/{shell}/verdicts/{'0' * 8}-0000-7000-8000-{'0' * 12}"
    assert (await door.client.delete(unknown, headers={"x-api-key": door.key})).status_code == 404
    viewer = await key_of(door, "viewer")
    assert (await say(door, shell, "confirmed", key=viewer)).status_code == 403


async def test_a_running_process_is_judged_by_the_answer_from_its_next_event_on(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    """No baseline exists and nothing is executed anew: the answer must not wait for that."""
    secret = {"path": "/etc/shadow", "flags": ["O_RDONLY"]}
    begin = clock.now() - timedelta(hours=1)
    for n in range(2):
        at = (begin + timedelta(minutes=n * 20)).isoformat()
        event = {"pid": 50, "start": 5, "exe": "/opt/backup", "syscall": "openat", "args": secret, "ret": 3}
        await host.accepted([event | {"seq": n, "timestamp": at}])
        await score_everything(resources)
        if n == 0:
            await said(door, "web-1:50", "expected")
    why = (await get(door, f"{PROCESSES}/web-1:50"))["explanation"]
    assert [item["why"] for item in why["suppressed"]] == ["answered as expected"]
    assert why["contributions"][0]["hits"] == 1
    await equal_everywhere(door)


async def test_what_is_confirmed_keeps_the_events_it_rests_on(
    door: Door, host: Host, resources: Resources, clock: SetClock
) -> None:
    secret = {"path": "/etc/shadow", "flags": ["O_RDONLY"]}
    event = {"pid": 50, "start": 5, "exe": "/opt/x", "syscall": "openat", "args": secret, "ret": 3, "seq": 1}
    await host.accepted([event | {"timestamp": (clock.now() - timedelta(hours=1)).isoformat()}])
    await score_everything(resources)
    await door.behind.execute("DELETE FROM events_kept")  # the incident keeps them too
    await said(door, "web-1:50", "confirmed")
    why = (await get(door, f"{PROCESSES}/web-1:50"))["explanation"]
    cited = {event for part in why["contributions"] for event in part["events"]}
    assert {row["event_id"].hex for row in await door.rows("SELECT event_id FROM events_kept")} == cited
