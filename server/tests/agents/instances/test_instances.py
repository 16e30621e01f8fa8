"""Processes of in-app agents: made by their first request, told apart, and shown with what they say."""

import hmac
from typing import Any
from uuid import UUID, uuid4

import pytest

from guardhouse.foundation.clock import SetClock
from server.tests.agents.instances.say import lane, ledger, status
from server.tests.agents.instances.seen import G1, G3, GH, INSTALL, get, project_id, shown, tell
from server.tests.components.door_at_noon import clock, door, resources
from server.tests.ingest.make import Door, batch, counts, packed

__all__ = ["clock", "door", "resources"]


@pytest.mark.parametrize(
    ("agent", "generation", "remarks"),
    [
        (G1, "G1", ["no_rules"]),
        ("guard-agent/2.10.0", "G2", []),
        (G3, "G3", []),
        (GH, "GH", []),
        ("curl/8", "other", []),
    ],
)
async def test_the_first_batch_makes_the_instance(
    door: Door, agent: str, generation: str, remarks: list[str]
) -> None:
    body = batch([door.event()], guard_version="8.1.2", guard_core_version="4.4.0", agent_version="3.2.4")
    counts(await door.events(body, user_agent=agent, x_agent_install_id=INSTALL))
    (made,) = await shown(door)
    assert (made["installation"], made["generation"], made["state"]) == (INSTALL, generation, "healthy")
    assert (made["agent_version"], made["guard_version"]) == ("3.2.4", "8.1.2")
    assert [remark["code"] for remark in made["remarks"]] == remarks
    detail = await get(door, f"/instances/{made['id']}")
    assert detail["events"] == {"stored": 1, "rolled_up": 0, "duplicates": 0, "rejected": 0}
    assert detail["guard_core_version"] == "4.4.0"


async def test_a_client_without_an_installation_has_one_by_key_and_address(door: Door) -> None:
    for number in range(2):
        counts(await door.events(batch([door.event()], batch_id=f"b-{number}"), user_agent=G1))
    counts(await door.events(batch([door.event()], batch_id="b-9"), x_agent_install_id="\x01bad"))
    (made,) = await shown(door)
    assert made["installation"].startswith("legacy-")
    assert len(made["installation"]) == len("legacy-") + 12
    (row,) = await door.rows("SELECT DISTINCT installation FROM events")
    assert row["installation"] == made["installation"]


async def test_workers_that_share_an_installation_are_told_apart_by_their_start(
    door: Door, clock: SetClock
) -> None:
    counts(await door.events(batch([door.event()]), user_agent=G3, x_agent_install_id=INSTALL))
    ids = set()
    for _ in range(3):
        clock.move(300)
        for uptime in (300.0, 300.02, 500.0):
            body = status(door.now, uptime=uptime + (door.now.timestamp() % 1e5))
            answer = await tell(door, body, user_agent=G3, x_agent_install_id=INSTALL)
            ids.add(answer.json()["instance_id"])
    made = await shown(door)
    assert len(made) == 3
    assert {one["id"] for one in made} == ids
    assert {one["interval_seconds"] for one in made} == {300}


async def test_ours_says_who_it_is_whatever_its_clock_does(door: Door, clock: SetClock) -> None:
    me = str(uuid4())
    counts(await door.events(batch([door.event()]), user_agent=GH, x_guardhouse_instance=me))
    for jump in (0, 3600, -7200, 31_536_000):
        clock.move(300)
        body = status(door.now, skewed=jump, guardhouse={"pid": 7, "host": "web-1", "tags": {"a": "b"}})
        answer = await tell(door, body, user_agent=GH, x_guardhouse_instance=me)
        assert answer.json()["instance_id"] == me
    (made,) = await shown(door)
    assert made["id"] == me
    assert [remark["code"] for remark in made["remarks"]] == ["clock_skew"]
    detail = await get(door, f"/instances/{me}")
    assert detail["process"] == {"pid": 7, "host": "web-1", "tags": {"a": "b"}}
    assert len(detail["reports"]) == 4


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[1]",
        b"{",
        b"\xff\xfe",
        b"\x1f\x8bbroken",
        {"a": 1},
        {"timestamp": "yesterday", "uptime": []},
        b"x" * 2_000_000,
    ],
)
async def test_a_status_that_cannot_be_read_is_recorded_and_answered_200(door: Door, body: Any) -> None:
    await tell(door, body, user_agent=G3, x_agent_install_id=INSTALL)
    (made,) = await shown(door)
    assert [remark["code"] for remark in made["remarks"]] == ["status_unreadable"]


@pytest.mark.parametrize(
    "value", [None, 17, -1, "text", True, [1], {"a": None}, 10**300, "x" * 70_000, "a\0b", "\ud800"]
)
async def test_any_member_of_a_status_may_be_anything(door: Door, value: Any) -> None:
    good = status(door.now, guardhouse={"instance_id": str(uuid4()), "seq": 1, "ledger": ledger(captured=1)})
    for name in good:
        await tell(door, good | {name: value}, user_agent=GH)
    for name in (*good["guardhouse"], "pid", "tags", "ended", "lanes", "clients"):
        await tell(door, good | {"guardhouse": good["guardhouse"] | {name: value}}, user_agent=GH)
    for one in await shown(door):
        await get(door, f"/instances/{one['id']}")


async def test_credentials_and_projects_are_judged_as_at_the_other_doors(door: Door) -> None:
    refused = await door.post("/api/v1/status", {}, x_api_key=None)
    assert refused.status_code == 401
    await get(door, f"/projects/{uuid4()}/instances", code=404)
    await get(door, f"/instances/{uuid4()}", code=404)
    await get(door, "/instances/not-a-uuid", code=422)


async def test_remarks_tell_what_is_configured_wrong(door: Door) -> None:
    body = batch([door.event()], project_id="other")
    counts(
        await door.post(
            "/api/v1/api/v1/events", body, x_project_id="shop", user_agent=G1, x_agent_install_id="i"
        )
    )
    bad = await door.events(b'{"events": [', x_project_id="shop", user_agent=G1, x_agent_install_id="i")
    assert bad.status_code == 400
    (made,) = await shown(door, "shop")
    assert {remark["code"] for remark in made["remarks"]} == {
        "doubled_path", "project_id_differs", "malformed_body", "no_rules",
    }  # fmt: skip
    assert all(remark["detail"] != remark["code"] for remark in made["remarks"])


async def test_the_last_hundred_reports_are_kept(door: Door, clock: SetClock) -> None:
    me = str(uuid4())
    for number in range(103):
        clock.move(60)
        await tell(door, status(door.now, events_sent=number), x_guardhouse_instance=me)
    detail = await get(door, f"/instances/{me}")
    assert [report["report"]["events_sent"] for report in detail["reports"]] == list(range(102, 2, -1))
    again = status(door.now, events_sent=102)
    await tell(door, again, x_guardhouse_instance=me)  # an answer was lost: the same report once more
    assert (await door.count("instance_reports"), UUID(me)) == (100, UUID(detail["id"]))


async def test_rules_that_an_app_says_it_applied_are_noted(door: Door) -> None:
    events = [
        door.event(event_type="dynamic_rule_applied", metadata={"rule_id": rule, "version": version})
        for rule, version in (
            ("gh-shop-00000000", 7),
            ("gh-shop-00000000", 6),
            ("r-1", 99),
            ("gh-x", "9"),
            (None, None),
        )
    ]
    counts(await door.events(batch(events), x_agent_install_id=INSTALL))
    (made,) = await shown(door)
    rules = (await get(door, f"/instances/{made['id']}"))["rules"]
    assert rules["applied"] == 7
    assert rules["served"] is None


async def test_pages_are_stable_and_the_youngest_come_first(door: Door) -> None:
    for place in range(5):
        await tell(door, status(door.now, events_sent=place), x_guardhouse_instance=str(UUID(int=place + 1)))
    path = f"/projects/{await project_id(door)}/instances"
    first = await get(door, f"{path}?limit=2")
    rest = await get(door, f"{path}?limit=9&cursor={first['pagination']['cursor']}")
    assert [UUID(one["id"]).int for one in first["data"] + rest["data"]] == [5, 4, 3, 2, 1]


async def test_an_instance_that_a_tenant_names_in_two_projects_stays_in_the_first(door: Door) -> None:
    me = str(uuid4())
    for project in ("one", "two"):
        body = batch([door.event()], batch_id=project)
        counts(await door.events(body, x_project_id=project, x_guardhouse_instance=me))
    assert [len(await shown(door, project)) for project in ("one", "two")] == [1, 0]
    assert (await tell(door, status(door.now), x_project_id="two", x_guardhouse_instance=me)).json()[
        "instance_id"
    ] is None
    assert lane(captured=1)["captured"] == 1


async def test_how_payloads_are_signed_and_sealed_is_shown(door: Door) -> None:
    signature = "v1=" + "0" * 64
    counts(
        await door.events(batch([door.event()]), x_agent_install_id=INSTALL, x_payload_signature=signature)
    )
    (made,) = await shown(door)
    assert [remark["code"] for remark in made["remarks"]] == ["unverified"]
    path = f"/api/v1/projects/{await project_id(door)}/signing-secrets"
    secret = (await door.post(path, {})).json()["signing_secret"]
    body = packed(batch([door.event(ip_address="192.0.2.8")], batch_id="b-2"))
    signed = "v1=" + hmac.digest(secret.encode(), body, "sha256").hex()
    signed_as = {"x_payload_signature": signed, "content_encoding": "gzip"}
    counts(await door.events(body, x_agent_install_id=INSTALL, **signed_as))
    detail = await get(door, f"/instances/{made['id']}")
    assert (detail["signature_form"], detail["encryption"]) == ("wire", "plain")
