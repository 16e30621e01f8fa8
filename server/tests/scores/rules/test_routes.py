"""Rules over HTTP: shown, written, refused with a place and a reason, overridden, audited, each tenant's own."""

from typing import Any

import pytest

from guardhouse.analysis.risk import rules as rules_module
from guardhouse.analysis.risk.coverage import linux_techniques
from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.resources import Resources
from guardhouse.scores.rules import save_rule
from server.tests.components.hosts import Host, score_everything
from server.tests.components.postgres import Clone
from server.tests.ingest.make import Door, open_door
from server.tests.scores.rules.make import RULES, patch, payroll, put, reading, send, shown


async def listed(door: Door, **query: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await door.client.get(RULES, params=query | cursor, headers={"x-api-key": door.key})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        rows += page["data"]
        if not page["pagination"]["has_more"]:
            return rows
        cursor = {"cursor": page["pagination"]["cursor"]}


async def sets(door: Door) -> list[Any]:
    return await door.rows("SELECT version FROM risk_rule_sets ORDER BY version")


async def test_every_rule_is_listed_once_however_the_pages_are_cut(door: Door) -> None:
    await put(door, payroll())
    whole = await listed(door)
    assert [row["id"] for row in whole] == sorted([*RuleSet.builtin().by_id, "payroll_read"])
    assert await listed(door, limit=7) == whole
    own = [row for row in whole if row["origin"] == "tenant"]
    assert await listed(door, origin="tenant") == own
    assert await listed(door, state="shadow") == own
    assert [row["id"] for row in await listed(door, technique="T1620")] == ["fileless_exec"]
    shipped = next(row for row in whole if row["id"] == "setuid_bit")
    assert (shipped["weight"], shipped["shipped_weight"], shipped["enabled"]) == (1.3, 1.3, True)
    assert shipped["hits_7d"] == {"hits": 0, "added": 0}


async def test_a_rule_is_shown_whole(door: Door) -> None:
    found = await shown(door, "setuid_bit")
    rule = RuleSet.builtin().by_id["setuid_bit"]
    assert found["rule"] == rule.source
    assert len(found["rule"]["test"]) >= 4
    assert (await send(door, "GET", f"{RULES}/nothing_here")).status_code == 404


async def test_a_rule_of_ones_own_begins_in_shadow_for_a_week(door: Door, clock: SetClock) -> None:
    made = await put(door, payroll())
    assert (made["state"], made["enabled"], made["version"], made["origin"]) == ("shadow", False, 1, "tenant")
    assert made["rule"] | {"version": 1} == made["rule"]
    begin = clock.now()
    clock.move(7 * 24 * 3600)
    until = clock.now()
    assert [made["shadow_since"][:19], made["shadow_until"][:19]] == [
        at.isoformat()[:19] for at in (begin, until)
    ]
    again = await put(door, payroll(title="Anew"), state="active")
    assert (again["version"], again["state"], again["enabled"], again["shadow_until"]) == (
        2,
        "active",
        True,
        None,
    )


async def test_the_very_same_rule_again_changes_nothing(door: Door) -> None:
    first = await put(door, payroll())
    assert await put(door, payroll()) == first
    assert len(await sets(door)) == 1
    copied = first["rule"]
    assert await put(door, copied) == first  # what is shown can be sent


WHERE = "/rule/step/0/where"


def watching(**where: Any) -> dict[str, Any]:
    return {"step": [{"calls": ["@open"], "where": where}]}


@pytest.mark.parametrize(
    ("change", "pointer", "said"),
    [
        ({"test": None}, "/rule/test", "two hitting"),
        ({"weight": 3.01}, "/rule/weight", "0 to 3"),
        ({"weight": -0.1}, "/rule/weight", "0 to 3"),
        ({"weight": "1"}, "/rule/weight", "0 to 3"),
        (watching(path={"like": "x"}), f"{WHERE}/path/like", "operator"),
        (watching(**{"mood/x": {"eq": "x"}}), f"{WHERE}/mood~1x", "unknown field"),
        (watching(path={"glob": "*" + "a*" * 9}), f"{WHERE}/path/glob", "stars"),
        (watching(path={"glob": "a" * 257}), f"{WHERE}/path/glob", "256"),
        ({"step": [{"calls": ["@open"], "set_fact": "written_by_net"}]}, "/rule/step/0/set_fact", "only the product"),
        ({"step": [{"calls": ["@open"], "set_flag": "attached"}]}, "/rule/step/0/set_flag", "only the product"),
        ({"step": ["x"]}, "/rule/step", "tables"),
        ({"step": None}, "/rule/step", "no step"),
        ({"id": "another"}, "/rule/id", "path"),
        ({"colour": "red"}, "/rule/colour", "unknown word"),
        ({"family": "other"}, "/rule/family", "unknown family"),
        ({"note": "x" * 70_000}, "/rule", "65536 bytes"),
    ],
)  # fmt: skip
async def test_a_wrong_rule_is_refused_with_place_and_reason_and_the_old_one_stays(
    door: Door, change: dict[str, Any], pointer: str, said: str
) -> None:
    before = await put(door, payroll())
    answer = await send(door, "PUT", f"{RULES}/payroll_read", {"rule": payroll(**change)})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "rule_invalid"), answer.text
    (error,) = problem["errors"]
    assert error["pointer"] == pointer
    assert said in error["detail"]
    assert await shown(door, "payroll_read") == before
    assert len(await sets(door)) == 1


@pytest.mark.parametrize(
    ("event", "word"),
    [
        ({"pid": -1}, "pid"),
        ({"pid": 1.5}, "pid"),
        ({"repeat": 1001}, "repeat"),
        ({"kind": "nap"}, "kind"),
        ({"at": -1}, "at"),
        ({"args": []}, "args"),
        ({"mood": "x"}, "mood"),
    ],
)
async def test_the_events_of_tests_are_judged_too(door: Door, event: dict[str, Any], word: str) -> None:
    rule = payroll()
    rule["test"][1]["events"] = [event]
    answer = await send(door, "PUT", f"{RULES}/payroll_read", {"rule": rule})
    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/rule/test/1/events/0/{word}"]


async def test_a_rule_that_fails_its_own_tests_is_refused(door: Door) -> None:
    rule = payroll()
    rule["test"][3]["hits"], rule["test"][1]["hits"] = True, False
    answer = await send(door, "PUT", f"{RULES}/payroll_read", {"rule": rule})
    assert (answer.status_code, answer.json()["code"]) == (422, "rule_invalid")
    assert [(e["pointer"], e["code"]) for e in answer.json()["errors"]] == [
        ("/rule/test/1", "test_failed"),
        ("/rule/test/3", "test_failed"),
    ]
    assert "the nightly backup: no hit" in answer.json()["errors"][1]["detail"]
    assert (await send(door, "GET", f"{RULES}/payroll_read")).status_code == 404


async def test_a_weight_of_nothing_is_taken_and_said(door: Door) -> None:
    made = await put(door, payroll(weight=0), state="active")
    assert (made["weight"], made["state"], made["enabled"]) == (0, "active", False)


async def test_there_are_at_most_two_hundred_rules(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    room = len(RuleSet.builtin().rules) + 2
    monkeypatch.setattr(save_rule, "MAX_RULES", room)
    for number in range(2):
        await put(door, payroll(), f"payroll_{number}")
    answer = await send(door, "PUT", f"{RULES}/payroll_2", {"rule": payroll()})
    assert (answer.status_code, answer.json()["code"]) == (422, "rule_invalid")
    assert f"more than {room} rules" in answer.json()["errors"][0]["detail"]
    await put(door, payroll(title="One that is there may change"), "payroll_1")
    assert rules_module.MAX_RULES == 200


async def test_a_name_of_the_product_is_not_taken(door: Door) -> None:
    answer = await send(door, "PUT", f"{RULES}/setuid_bit", {"rule": payroll()})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    answer = await send(door, "DELETE", f"{RULES}/setuid_bit")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    answer = await send(door, "PUT", f"{RULES}/Payroll", {"rule": payroll()})
    assert answer.status_code == 422


async def test_a_rule_of_the_product_is_overridden_and_put_back(door: Door) -> None:
    before = await shown(door, "exec_tmp")
    excepts = [{"exe": {"prefix": ["/tmp/agent-"]}}]  # noqa: S108 - a path in a rule
    changed = await patch(door, "exec_tmp", weight=0.9, **{"except": excepts})
    assert (changed["weight"], changed["shipped_weight"], changed["except"]) == (0.9, 0.35, excepts)
    assert (changed["enabled"], changed["overridden"], changed["state"]) == (True, True, "active")
    off = await patch(door, "exec_tmp", enabled=False)
    assert (off["enabled"], off["state"], off["weight"], off["except"]) == (False, "disabled", 0.9, excepts)
    assert await patch(door, "exec_tmp", enabled=False) == off
    nothing = await patch(door, "exec_tmp", enabled=True, weight=0)
    assert (nothing["enabled"], nothing["weight"], nothing["state"]) == (False, 0, "active")
    assert await patch(door, "exec_tmp", enabled=None, weight=None, **{"except": None}) == before
    assert len(await sets(door)) == 4


@pytest.mark.parametrize(
    ("rule_id", "change", "pointer"),
    [
        ("exec_tmp", {"weight": 3.5}, "/weight"),
        ("exec_tmp", {"weight": -1}, "/weight"),
        ("exec_tmp", {"except": [{}]}, "/except"),
        ("exec_tmp", {"except": [{"mood": {"eq": "x"}}]}, "/except/0/mood"),
        ("exec_tmp", {"except": [{"exe": {"like": "x"}}]}, "/except/0/exe/like"),
        ("exec_tmp", {"state": "shadow"}, "/state"),
        ("payroll_read", {"enabled": False}, "/enabled"),
        ("payroll_read", {"weight": 1}, "/weight"),
    ],
)
async def test_a_wrong_change_is_refused(
    door: Door, rule_id: str, change: dict[str, Any], pointer: str
) -> None:
    await put(door, payroll())
    answer = await send(door, "PATCH", f"{RULES}/{rule_id}", change)
    assert (answer.status_code, answer.json()["code"]) == (422, "rule_invalid"), answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert len(await sets(door)) == 1


async def test_the_state_of_ones_own_rule_is_set(door: Door, clock: SetClock) -> None:
    await put(door, payroll())
    assert (await patch(door, "payroll_read", state="active"))["enabled"] is True
    off = await patch(door, "payroll_read", state="disabled")
    assert (off["state"], off["enabled"], off["shadow_until"]) == ("disabled", False, None)
    held = await patch(door, "payroll_read", state="shadow", shadow_days=None)
    assert (held["state"], held["shadow_until"]) == ("shadow", None)
    longer = await patch(door, "payroll_read", shadow_days=30)
    clock.move(30 * 24 * 3600)
    assert longer["shadow_until"][:19] == clock.now().isoformat()[:19]
    assert (await send(door, "PATCH", f"{RULES}/nothing_here", {"state": "active"})).status_code == 404


async def test_a_rule_is_taken_out_and_its_name_is_free_again(door: Door) -> None:
    await put(door, payroll())
    assert (await send(door, "DELETE", f"{RULES}/payroll_read")).status_code == 204
    assert (await send(door, "GET", f"{RULES}/payroll_read")).status_code == 404
    assert (await send(door, "DELETE", f"{RULES}/payroll_read")).status_code == 404
    assert (await put(door, payroll()))["version"] == 2  # a version is never written twice


async def test_changes_of_rules_are_audited(door: Door) -> None:
    await put(door, payroll())
    await patch(door, "payroll_read", state="active")
    await patch(door, "exec_tmp", weight=0.5)
    await send(door, "DELETE", f"{RULES}/payroll_read")
    rows = await door.rows("SELECT action, target FROM audit_log WHERE action LIKE 'rule.%' ORDER BY seq")
    assert [tuple(row) for row in rows] == [
        ("rule.save", "rule:payroll_read"),
        ("rule.change", "rule:payroll_read"),
        ("rule.override", "rule:exec_tmp"),
        ("rule.delete", "rule:payroll_read"),
    ]


async def test_each_tenant_has_its_own_rules(
    door: Door, host: Host, resources: Resources, clock: SetClock, database: Clone
) -> None:
    await put(door, payroll(), state="active")
    await patch(door, "exec_tmp", enabled=False)
    async with open_door(resources, database.superuser_url, slug="other") as second:
        assert (await send(second, "GET", f"{RULES}/payroll_read")).status_code == 404
        assert (await shown(second, "exec_tmp"))["overridden"] is False
        there = Host(second.client, second.key, id="web-9")
        await there.accepted([reading(timestamp=clock.now().isoformat())])
        await host.accepted([reading(timestamp=clock.now().isoformat(), seq=1)])
        await score_everything(resources)
        assert (await put(second, payroll()))["hits_7d"] == {"hits": 0, "added": 0}
    assert (await shown(door, "payroll_read"))["hits_7d"] == {"hits": 1, "added": 1}


async def test_coverage_has_an_honest_denominator(door: Door) -> None:
    async def covered() -> dict[str, Any]:
        found: dict[str, Any] = (await send(door, "GET", f"{RULES}:coverage")).json()
        return found

    before = await covered()
    assert before["total"] == len(linux_techniques()) == 113
    assert before["covered"] == sum(1 for row in before["techniques"] if row["covered"])
    assert before["percent"] == round(100 * before["covered"] / 113, 1)
    rows = {row["id"]: row for row in before["techniques"]}
    assert rows["T1486"] == {"id": "T1486", "covered": True, "rules": ["mass_rename"], "muted_rules": []}
    assert rows["T1005"]["covered"] is False
    assert {"T1620", "T1485"} & {row["id"] for row in before["outside"]} == {"T1620"}
    await put(door, payroll())
    await patch(door, "mass_rename", enabled=False)
    after = await covered()
    rows = {row["id"]: row for row in after["techniques"]}
    assert rows["T1005"] == {"id": "T1005", "covered": False, "rules": [], "muted_rules": ["payroll_read"]}
    assert rows["T1486"]["covered"] is False
    assert after["covered"] == before["covered"] - 1
