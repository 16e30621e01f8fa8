"""Rules at work: from which event on, how a hit that does not count is told, and the same bytes when judged again."""

from datetime import timedelta
from typing import Any

import pytest

from guardhouse.analysis.risk.rules import RuleSet
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.jobs import ClaimedJob, JobContext
from guardhouse.foundation.resources import Resources
from guardhouse.scores.apply import Engines
from guardhouse.scores.rules import jobs
from server.tests.components.hosts import Host, score_everything
from server.tests.ingest.make import Door
from server.tests.scores.rules.make import RULES, patch, payroll, put, reading, send, shown

PROCESS = "web-1:100:7"


class Desk:
    """One host whose events are sent and scored one by one."""

    def __init__(self, door: Door, host: Host, resources: Resources, clock: SetClock) -> None:
        self.door, self.host, self.resources, self.clock = door, host, resources, clock
        self.engines = Engines(RuleSet.builtin())
        self.sent = 0

    async def read(self, **members: Any) -> dict[str, Any]:
        self.sent += 1
        at = self.clock.now() + timedelta(seconds=self.sent)
        await self.host.accepted([reading(timestamp=at.isoformat(), seq=self.sent, **members)])
        await score_everything(self.resources, self.engines)
        return await self.explained()

    async def explained(self) -> dict[str, Any]:
        answer = await send(self.door, "GET", f"/api/v1/processes/{PROCESS}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["explanation"]
        return found

    async def judged(self, mode: str = "verify") -> dict[str, Any]:
        body = {"process_id": PROCESS, "mode": mode}
        answer = await send(self.door, "POST", "/api/v1/scores:recalculate", body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def desk(door: Door, host: Host, resources: Resources, clock: SetClock) -> Desk:
    return Desk(door, host, resources, clock)


def ids(parts: list[dict[str, Any]]) -> list[str]:
    return [part["id"] for part in parts]


async def run(resources: Resources, job: Any) -> None:
    claimed = ClaimedJob(1, "x", "null", None, "platform", 1, 0, resources.clock.now(), "")
    await job.run(JobContext(resources, claimed))


async def test_a_shadow_rule_is_counted_and_told_and_not_added(desk: Desk) -> None:
    await put(desk.door, payroll())
    found = await desk.read()
    assert (found["risk"], found["contributions"]) == (0, [])
    (told,) = found["suppressed"]
    assert (told["id"], told["would_be_nats"], told["why"]) == (
        "rule.payroll_read", 1.1, "shadow rule: counted, not added",
    )  # fmt: skip
    assert len(told["events"]) == 1
    assert (await shown(desk.door, "payroll_read"))["hits_7d"] == {"hits": 1, "added": 0}


async def test_a_rule_holds_from_the_next_event_on(desk: Desk) -> None:
    assert (await desk.read())["risk"] == 0
    await put(desk.door, payroll(), state="active")
    found = await desk.read()
    assert ids(found["contributions"]) == ["rule.payroll_read"]
    assert found["contributions"][0]["attack"] == ["T1005"]
    assert found["versions"]["rules"] == f"{RuleSet.builtin().version}.1"
    await send(desk.door, "DELETE", f"{RULES}/payroll_read")
    after = await desk.read()
    assert ids(after["contributions"]) == ["rule.payroll_read"]  # evidence stays and fades
    assert after["contributions"][0]["hits"] == 1
    rows = await desk.door.rows(
        "SELECT position, data FROM process_inputs WHERE kind = 'rules' ORDER BY position"
    )
    assert [row["position"] for row in rows] == [1, 2, 3]


@pytest.mark.parametrize(
    ("change", "why", "nats"),
    [
        ({"enabled": False}, "switched off here: counted, not added", 1.1),
        ({"weight": 0}, "weight 0 here: counted, not added", 1.1),
        ({"except": [{"exe": {"eq": "/bin/cat"}}]}, "exception: exe /bin/cat", 1.1),
    ],
)
async def test_what_an_override_takes_away_is_told(
    desk: Desk, change: dict[str, Any], why: str, nats: float
) -> None:
    shadow = {"path": "/etc/shadow", "flags": ["O_RDONLY"]}
    await patch(desk.door, "credential_read", **change)
    found = await desk.read(args=shadow)
    assert (found["risk"], found["contributions"]) == (0, [])
    assert [(part["id"], part["why"], part["would_be_nats"]) for part in found["suppressed"]] == [
        ("rule.credential_read", why, nats)
    ]
    hits = (await shown(desk.door, "credential_read"))["hits_7d"]
    assert hits == {"hits": 1, "added": 0}
    assert (await desk.judged())["recalculation"]["equal"] is True


async def test_a_weight_of_ones_own_counts(desk: Desk) -> None:
    await patch(desk.door, "credential_read", weight=2.5)
    found = await desk.read(args={"path": "/etc/shadow", "flags": ["O_RDONLY"]})
    assert [(part["id"], part["nats"]) for part in found["contributions"]] == [("rule.credential_read", 2.5)]


async def test_judged_again_after_rules_have_changed_every_byte_is_the_same(desk: Desk) -> None:
    secret = {"path": "/etc/shadow", "flags": ["O_RDONLY"]}
    await desk.read()
    await put(desk.door, payroll(), state="active")
    await desk.read()
    await patch(desk.door, "credential_read", weight=2)
    await desk.read(args=secret)
    await put(desk.door, payroll(weight=2, title="Other"), state="active")
    await desk.read()
    await patch(desk.door, "credential_read", enabled=False)
    await desk.read(args=secret)
    await send(desk.door, "DELETE", f"{RULES}/payroll_read")
    await desk.read()
    desk.engines = Engines(RuleSet.builtin())  # a worker that has just begun
    last = await desk.read()
    again = await desk.judged()
    assert again["recalculation"] == {"mode": "verify", "equal": True, "events": 7}
    assert again["risk"] == last["risk"]
    newest = await desk.judged("current")
    assert newest["recalculation"]["equal"] is False
    assert (newest["risk"], newest["explanation"]["contributions"]) == (0, [])
    assert ids(newest["explanation"]["suppressed"]) == ["rule.credential_read"]


async def test_progress_of_an_old_version_does_not_complete_a_new_one(desk: Desk) -> None:
    """Two files in order; after the rule has changed the first one alone is a beginning, not half of the old."""

    def step(name: str) -> dict[str, Any]:
        return {"calls": ["@open"], "where": {"path": {"eq": f"/srv/payroll/{name}"}}}

    def tests() -> list[dict[str, Any]]:
        def opens(*names: str) -> list[dict[str, Any]]:
            return [{"call": "open", "args": {"path": f"/srv/payroll/{name}"}, "ret": 3} for name in names]

        hit, miss = opens("a", "b"), opens("b", "a")
        return [{"hits": True, "events": hit}] * 2 + [{"hits": False, "events": miss}] * 2

    await put(desk.door, payroll(step=[step("a"), step("b")], test=tests()), state="active")
    args = {"flags": ["O_RDONLY"]}
    await desk.read(args=args | {"path": "/srv/payroll/a"})
    await put(desk.door, payroll(title="b", step=[step("a"), step("b")], test=tests()), state="active")
    assert (await desk.read(args=args | {"path": "/srv/payroll/b"}))["risk"] == 0
    await desk.read(args=args | {"path": "/srv/payroll/a"})
    assert ids((await desk.read(args=args | {"path": "/srv/payroll/b"}))["contributions"]) == [
        "rule.payroll_read"
    ]
    assert (await desk.judged())["recalculation"]["equal"] is True


async def test_rules_of_an_older_product_are_kept_for_judging_again(desk: Desk) -> None:
    shipped = RuleSet.builtin()
    older = RuleSet(
        (rule for rule in shipped.rules if rule.id != "credential_read"), shipped.lists, "2025.9+00000000"
    )
    desk.engines = Engines(older)
    args = {"path": "/etc/shadow", "flags": ["O_RDONLY"]}
    assert (await desk.read(args=args))["contributions"] == []
    desk.engines = Engines(shipped)
    assert ids((await desk.read(args=args))["contributions"]) == ["rule.credential_read"]
    again = await desk.judged()
    assert again["recalculation"]["equal"] is True
    assert again["explanation"]["contributions"][0]["hits"] == 1
    kept = await desk.door.rows("SELECT version FROM risk_shipped_rules ORDER BY 1")
    assert [row[0] for row in kept] == ["2025.9+00000000", shipped.version]
    newest = await desk.judged("current")
    assert newest["explanation"]["contributions"][0]["hits"] == 2


async def test_a_shadow_that_is_over_ends_once_and_is_told(desk: Desk, clock: SetClock) -> None:
    await put(desk.door, payroll())
    await put(desk.door, payroll(), "payroll_held", shadow_days=None)
    await desk.read()
    await run(desk.resources, jobs.end_shadows)
    assert (await shown(desk.door, "payroll_read"))["state"] == "shadow"
    clock.move(7 * 24 * 3600)
    for _ in range(2):
        await run(desk.resources, jobs.end_shadows)
    after = await shown(desk.door, "payroll_read")
    assert (after["state"], after["enabled"], after["shadow_until"]) == ("active", True, None)
    assert (await shown(desk.door, "payroll_held"))["state"] == "shadow"
    (notice,) = await desk.door.rows(
        "SELECT subject, data::text AS data FROM notices WHERE kind = 'rule.shadow_ready'"
    )
    assert notice["subject"] == "rule:payroll_read"
    assert '"hits": 1' in notice["data"]
    audited = await desk.door.rows("SELECT actor FROM audit_log WHERE action = 'rule.end_shadow'")
    assert [row[0] for row in audited] == ["system:shadow"]


async def test_old_hits_go(desk: Desk, clock: SetClock) -> None:
    await put(desk.door, payroll(), state="active")
    await desk.read()
    clock.move(8 * 24 * 3600)
    assert (await shown(desk.door, "payroll_read"))["hits_7d"] == {"hits": 0, "added": 0}
    await run(desk.resources, jobs.prune_rule_hits)
    assert await desk.door.count("risk_rule_hits") == 1
    clock.move(100 * 24 * 3600)
    await run(desk.resources, jobs.prune_rule_hits)
    assert await desk.door.count("risk_rule_hits") == 0
