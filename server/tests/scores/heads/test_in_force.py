"""Heads at work: told in shadow, counting when on, silent when off; and the same bytes when judged again."""

from datetime import timedelta
from typing import Any

import pytest

from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from guardhouse.scores.apply import Engines
from server.tests.components.hosts import Host, score_everything
from server.tests.ingest.make import Door
from server.tests.scores.heads.make import calls_of, keep, run_daily, states, weighs

ID = "head.verdict"
WEEK = timedelta(days=7)


async def explained(door: Door, pid: int) -> dict[str, Any]:
    answer = await door.client.get(f"/api/v1/processes/web-1:{pid}:1", headers={"x-api-key": door.key})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["explanation"]
    return found


async def judged(door: Door, pid: int, mode: str = "verify") -> dict[str, Any]:
    answer = await door.post("/api/v1/scores:recalculate", {"process_id": f"web-1:{pid}:1", "mode": mode})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("restarted", [False, True], ids=["one worker", "a new worker each step"])
async def test_it_is_told_in_shadow_counts_when_on_and_replays_to_the_byte_across_changes(
    door: Door, host: Host, resources: Resources, clock: SetClock, *, restarted: bool
) -> None:
    engines = Engines(RuleSet.builtin())
    at = clock.now() - timedelta(hours=1)
    sent = 0

    async def does(pid: int, *names: str) -> dict[str, Any]:
        nonlocal sent
        sent += 1
        await host.accepted(calls_of(pid, list(names), at + timedelta(minutes=sent), 1000 * sent))
        await score_everything(resources, None if restarted else engines)
        return await explained(door, pid)

    bad = ["dup2", "connect", *["read"] * 10]
    assert (await does(1, *bad))["suppressed"] == []
    await keep(door, weighs(1, "dup2 connect"), created_at=clock.now() - WEEK)
    assert (await does(1, *bad))["suppressed"] == []  # a program is looked at from its beginning on

    found = await does(2, *bad)
    (told,) = found["suppressed"]
    assert (found["risk"], found["contributions"]) == (0, [])
    assert (told["id"], told["would_be_nats"], told["why"]) == (
        ID, 1.871, "verdict head 1 in shadow: counted, not added",
    )  # fmt: skip

    await run_daily(resources)
    assert await states(door) == {1: "on"}
    found = await does(3, *bad)
    assert [(part["id"], part["decayed_from"]) for part in found["contributions"]] == [(ID, 1.871)]
    assert found["risk"] > 0

    await keep(door, weighs(2, "connect"))  # one on, one in shadow
    found = await does(4, *bad)
    assert [part["id"] for part in found["contributions"]] == [ID]
    assert [part["id"] for part in found["suppressed"]] == [ID]

    answer = await door.client.patch(
        "/api/v1/risk/heads/1", json={"state": "off"}, headers={"x-api-key": door.key}
    )
    assert answer.status_code == 200, answer.text
    assert (await does(5, *bad))["contributions"] == []
    await does(3, *bad)
    for pid in range(1, 6):
        assert (await judged(door, pid))["recalculation"]["equal"] is True, pid
    assert (await judged(door, 3, "current"))["risk"] == 0  # with the heads of now
    rows = await door.rows(
        "SELECT data->>'heads' AS heads FROM process_inputs WHERE kind = 'heads' ORDER BY position"
    )
    assert [row["heads"] for row in rows] == ["1-", "1+", "1+ 2-", "2-"]


@pytest.mark.parametrize(
    "case",
    [(0.90, None, "on"), (0.899, None, "off"), (0.95, 0.94, "on"), (0.94, 0.95, "off")],
)
async def test_after_seven_days_it_is_on_if_good_and_no_worse_than_the_one_that_is(
    door: Door,
    host: Host,
    resources: Resources,
    clock: SetClock,
    case: tuple[float, float | None, str],
) -> None:
    auc, on_auc, state = case
    await host.accepted(calls_of(1, ["read"], clock.now(), 1))
    if on_auc is not None:
        await keep(door, weighs(1, "dup2"), "on", auc=on_auc)
    await keep(door, weighs(2, "dup2"), auc=auc, created_at=clock.now() - WEEK + timedelta(seconds=1))
    await run_daily(resources)
    assert (await states(door))[2] == "shadow"
    clock.move(1)
    await run_daily(resources)
    found = await states(door)
    assert found.pop(2) == state
    assert found == ({} if on_auc is None else {1: "off" if state == "on" else "on"})
    (entry,) = await door.rows("SELECT actor FROM audit_log WHERE target = 'head:2'")
    assert entry["actor"] == "system:heads"


async def test_one_that_is_off_for_long_is_forgotten_and_its_version_not_given_again(
    door: Door, resources: Resources, clock: SetClock
) -> None:
    long_ago = clock.now() - timedelta(days=40)
    for version in (1, 2):
        await keep(door, weighs(version, "dup2"), "off", off_at=long_ago)
    await run_daily(resources)
    assert await states(door) == {2: "off"}
