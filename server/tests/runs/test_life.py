"""The life of a run: taken in, worked on, paid, read, forgotten; and every other way it can end."""

import asyncio
import hashlib
from datetime import timedelta
from uuid import UUID

import pytest

from guardhouse.foundation.ids import new_id
from guardhouse.foundation.transaction import system_transaction
from guardhouse.runs import finish, jobs, store
from guardhouse.runs.envelope import Part
from guardhouse.runs.execute import AtWork, execute
from guardhouse.runs.lease import LEASE, renew
from server.tests.identity import make as identity
from server.tests.runs.make import KNOWN, House, worker


async def test_a_run_is_bought_done_and_read(house: House) -> None:
    receipt = await house.submit()
    assert receipt.status_code == 201, receipt.text
    body = receipt.json()
    assert (body["status"], body["money_state"], body["reserved_cost_usd"]) == (
        "QUEUED",
        "RESERVED",
        "5.0000",
    )
    assert body["cost"] == {
        "reserved_usd": "5.0000",
        "used_usd": "0.0000",
        "minimum_fee_usd": "0.0100",
        "quote_usd": "0.0100",
        "budget_remaining_usd": "95.0000",
    }
    assert receipt.headers["location"] == body["poll"]["href"] == f"/api/v1/runs/{body['run_id']}"
    assert receipt.headers["x-guardhouse-budget-remaining"] == "95.0000"
    assert await house.balance() == ("95.0000", "5.0000", "0.0000")
    await house.work()
    run = await house.get(body["run_id"])
    assert (run["status"], run["money_state"], run["actual_cost_usd"]) == ("COMPLETED", "SETTLED", "0.0100")
    assert await house.balance() == ("99.9900", "0.0000", "0.0100")
    result = await house.client.get(f"/api/v1/runs/{body['run_id']}/result")
    assert hashlib.sha256(result.content).hexdigest() == run["result"]["sha256"]
    assert len(result.content) == run["result"]["bytes"]
    envelope = result.json()
    assert envelope["data"]["outcome"] == "needs_input"
    assert [one["name"] for one in envelope["data"]["next_inputs"]["options"]] == ["Postgres", "MySQL"]
    linked = await house.client.get(run["result"]["presigned_url"], headers={"X-API-Key": ""})
    assert linked.content == result.content
    assert linked.headers["cache-control"] == "private, no-store"
    assert await house.kinds(body["run_id"]) == [
        ("run.created", 1),
        ("run.started", 2),
        ("run.completed", 4),
    ]


async def test_what_next_inputs_ask_for_decides_it(house: House) -> None:
    run_id = await house.submitted(inputs=KNOWN)
    await house.work()
    data = (await house.client.get(f"/api/v1/runs/{run_id}/result")).json()
    assert (data["data"]["outcome"], data["data"]["recommendation"]) == ("decided", "house")
    assert data["reliability"] > 0.5
    assert data["artifacts"]["report.md"]["bytes"] > 0
    again = await house.submitted("k2", inputs=KNOWN)
    await house.work()
    repeated = (await house.client.get(f"/api/v1/runs/{again}/result")).json()
    assert repeated["determinism"]["data_sha256"] == data["determinism"]["data_sha256"]


async def test_a_worker_does_it_on_its_own(house: House) -> None:
    async with worker(house.resources):
        run_id = await house.submitted()
        shown = await house.client.get(f"/api/v1/runs/{run_id}", headers={"Prefer": "wait=20"})
        while shown.json()["status"] not in {"COMPLETED", "FAILED"}:
            shown = await house.client.get(f"/api/v1/runs/{run_id}", headers={"Prefer": "wait=20"})
    assert shown.json()["status"] == "COMPLETED"
    assert shown.headers["preference-applied"] == "wait=20"


async def test_too_little_reliability_costs_the_minimum_fee(house: House) -> None:
    reservation = {"min_reliability_score": 1.0}
    near = {**KNOWN, "options": [*KNOWN["options"], {"name": "barn", "scores": {"place": 6.1, "room": 8.8}}]}
    run_id = await house.submitted(inputs=near, reservation=reservation)
    await house.work()
    run = await house.get(run_id)
    assert (run["status"], run["error"]["reason_code"]) == ("FAILED", "RELIABILITY_BELOW_MINIMUM")
    assert (run["actual_cost_usd"], run["money_state"]) == ("0.0200", "SETTLED")
    assert run["error"]["data"]["recommendation"] == "house"
    answer = await house.client.get(f"/api/v1/runs/{run_id}/result")
    assert (answer.status_code, answer.json()["code"]) == (409, "run_has_no_result")


async def test_a_ceiling_below_the_cost_ends_the_run_at_the_fee(house: House) -> None:
    run_id = await house.submitted(max_cost_usd="0.0050")
    early = await house.client.get(f"/api/v1/runs/{run_id}/result")
    assert (early.status_code, early.json()["code"]) == (409, "run_not_finished")
    await house.work()
    run = await house.get(run_id)
    assert run["error"]["reason_code"] == "BUDGET_EXHAUSTED"
    assert run["actual_cost_usd"] == "0.0050"


async def test_a_queued_run_is_cancelled_free_and_one_at_work_for_the_fee(house: House) -> None:
    first, second = await house.submitted("k1"), await house.submitted("k2")
    done = await house.client.post(f"/api/v1/runs/{first}/cancel")
    assert (done.status_code, done.json()["status"], done.json()["actual_cost_usd"]) == (
        200,
        "CANCELLED",
        "0.0000",
    )
    assert (await house.client.post(f"/api/v1/runs/{first}/cancel")).status_code == 200
    (run,) = await house.claim()
    asked = await house.client.post(f"/api/v1/runs/{second}/cancel")
    assert (asked.status_code, asked.json()["status"]) == (202, "PROCESSING")
    assert asked.json()["cancel_requested_at"] is not None
    async with system_transaction(house.resources.database) as tx:
        assert run.lease_token is not None
        assert await renew(tx, [run.lease_token], house.clock.now()) == {run.lease_token: True}
    await execute(house.resources, AtWork(run, cancelled=True))
    ended = await house.get(second)
    assert (ended["status"], ended["actual_cost_usd"]) == ("CANCELLED", "0.0100")
    assert await house.balance() == ("99.9900", "0.0000", "0.0100")


async def test_a_run_whose_result_is_being_stored_cannot_be_stopped(house: House) -> None:
    run_id = await house.submitted()
    await house.claim()
    await _claim_only(house, run_id, store_objects=False)
    answer = await house.client.post(f"/api/v1/runs/{run_id}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "run_finishing")
    assert answer.headers["retry-after"] == "2"


async def test_the_end_of_a_run_wins_over_a_late_cancel(house: House) -> None:
    run_id = await house.submitted()
    await house.work()
    answer = await house.client.post(f"/api/v1/runs/{run_id}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "run_terminal")


async def test_a_silent_worker_loses_the_run_and_the_last_one_ends_it_free(house: House) -> None:
    run_id = await house.submitted()
    seen = []
    for attempt in (1, 2):
        (run,) = await house.claim()
        seen.append(run)
        assert run.attempt == attempt
        assert await jobs.reap_once(house.resources) == 0
        house.clock.move(LEASE.total_seconds() + 1)
        assert await jobs.reap_once(house.resources) == 1
    ended = await house.get(run_id)
    assert (ended["status"], ended["error"]["reason_code"], ended["actual_cost_usd"]) == (
        "FAILED",
        "WORKER_TIMEOUT",
        "0.0000",
    )
    assert ended["money_state"] == "REFUNDED"
    assert await house.balance() == ("100.0000", "0.0000", "0.0000")
    await execute(house.resources, AtWork(seen[-1]))  # the silent worker wakes up: nothing of it counts
    assert await house.get(run_id) == ended


async def test_a_run_that_nobody_takes_expires_free(house: House) -> None:
    run_id = await house.submitted(reservation={"queue_sec": 60})
    house.clock.move(61)
    assert await house.claim() == []
    assert await jobs.reap_once(house.resources) == 1
    assert (await house.get(run_id))["error"]["reason_code"] == "RESERVATION_EXPIRED"
    transfers = (await house.client.get(f"/api/v1/ledger/transfers?run_id={run_id}")).json()["data"]
    assert [one["kind"] for one in transfers] == ["expire", "hold"]


async def test_after_retention_the_result_is_gone_and_the_costs_are_not(house: House) -> None:
    run_id = await house.submitted()
    await house.work()
    link = (await house.get(run_id))["result"]["presigned_url"]
    house.clock.move(601)
    late = await house.client.get(link)
    assert (late.status_code, late.json()["code"]) == (403, "signed_url_expired")
    tampered = await house.client.get(link[:-3] + "AAA")
    assert (tampered.status_code, tampered.json()["code"]) == (403, "signed_url_invalid")
    house.clock.move(timedelta(days=30).total_seconds() - 601)
    gone = await house.client.get(f"/api/v1/runs/{run_id}")
    assert (gone.status_code, gone.json()["code"], gone.json()["actual_cost_usd"]) == (
        410,
        "run_expired",
        "0.0100",
    )
    assert await jobs.expire_once(house.resources) == 1
    assert (await house.client.get(f"/api/v1/runs/{run_id}")).status_code == 410
    (listed,) = (await house.client.get("/api/v1/runs")).json()["data"]
    assert (listed["status"], listed["actual_cost_usd"]) == ("EXPIRED", "0.0100")
    assert not list(house.resources.settings.data_dir.rglob("*envelope*"))


async def test_a_plan_lets_so_many_work_at_once(house: House) -> None:
    for number in range(10):
        await house.submitted(f"k{number}")
    assert len(await house.claim()) == 8
    assert await house.claim() == []


async def test_tenants_take_turns(house: House) -> None:
    assert await house.claim() == []
    for number in range(3):
        await house.submitted(f"k{number}")
    runs = await asyncio.gather(house.claim(2), house.claim(2))
    assert sum(map(len, runs)) in {2, 3}  # who comes second waits for its turn, or takes what is left
    assert len({run.run_id for claimed in runs for run in claimed}) == sum(map(len, runs))


@pytest.mark.parametrize("found", ["whole", "missing", "different"])
async def test_a_claim_that_nobody_completed_is_decided_by_what_is_there(house: House, found: str) -> None:
    run_id = await house.submitted()
    (run,) = await house.claim()
    await _claim_only(house, run_id, store_objects=found != "missing")
    (path,) = (
        [path for path in house.resources.settings.data_dir.rglob("*envelope*") if path.is_file()]
        if found != "missing"
        else [None]
    )
    if found == "different" and path is not None:
        path.write_bytes(b"{}")
    assert await jobs.reconcile_once(house.resources) == 0
    house.clock.move(301)
    assert await jobs.reconcile_once(house.resources) == 1
    ended = await house.get(run_id)
    expected = {
        "whole": ("COMPLETED", "SETTLED", "0.0100"),
        "missing": ("FAILED", "REFUNDED", "0.0000"),
        "different": ("PROCESSING", "AUDIT_REQUIRED", None),
    }[found]
    assert (ended["status"], ended["money_state"], ended["actual_cost_usd"]) == expected
    assert await jobs.reap_once(house.resources) == 0
    await execute(house.resources, AtWork(run))
    assert (await house.get(run_id))["version"] == ended["version"]


async def _claim_only(house: House, run_id: str, *, store_objects: bool) -> None:
    """Do what a worker does up to the upload, and die."""
    part = Part("pack_envelope.json", f"runs/x/{run_id}/pack_envelope.json", "application/json", b'{"a":1}')
    async with system_transaction(house.resources.database) as tx:
        run = await store.find_run(tx, house.tenant.id, UUID(run_id))
        assert run is not None
        now = house.clock.now()
        assert await finish.claim_end(tx, run, [part.pointer()], new_id(), now, 10_000) is not None
    if store_objects:
        await house.resources.objects.put(part.key, part.content)


async def test_a_charge_is_given_back_once(house: House) -> None:
    run_id = await house.submitted()
    await house.work()
    path = f"/api/v1/runs/{run_id}/refunds"
    some = await house.client.post(path, json={"amount_usd": "0.0060", "reason": "half of it was wrong"})
    assert (some.status_code, some.json()["run"]["money_state"]) == (201, "SETTLED")
    much = await house.client.post(path, json={"amount_usd": "0.0060", "reason": "again"})
    assert (much.status_code, much.json()["code"], much.json()["left_usd"]) == (
        409,
        "refund_exceeds_charge",
        "0.0040",
    )
    rest = await house.client.post(path, json={"reason": "all of it"})
    assert (rest.json()["run"]["money_state"], rest.json()["run"]["refunded_usd"]) == ("REFUNDED", "0.0100")
    assert (await house.client.post(path, json={"reason": "more"})).status_code == 409
    assert await house.balance() == ("100.0000", "0.0000", "0.0000")
    assert [kind for kind, _ in await house.kinds(run_id)][-2:] == ["run.refunded", "run.refunded"]


@pytest.mark.parametrize("action", ["settle", "release"])
async def test_a_person_decides_what_a_machine_must_not(house: House, action: str) -> None:
    run_id = await house.submitted()
    await house.claim()
    path = f"/api/v1/runs/{run_id}/audit-resolution"
    _, staff = await identity.key(house.resources, house.tenant, "platform")
    body = {"action": action, "note": "looked at it"}
    early = await house.client.post(path, json=body, headers={"X-API-Key": staff})
    assert (early.status_code, early.json()["code"]) == (409, "not_in_audit")
    await _claim_only(house, run_id, store_objects=True)
    (path_,) = [one for one in house.resources.settings.data_dir.rglob("*envelope*") if one.is_file()]
    path_.write_bytes(b"{}")
    house.clock.move(301)
    await jobs.reconcile_once(house.resources)
    assert (await house.client.post(path, json=body)).status_code == 403
    decided = await house.client.post(path, json=body, headers={"X-API-Key": staff})
    expected = {"settle": ("COMPLETED", "SETTLED", "0.0100"), "release": ("FAILED", "REFUNDED", "0.0000")}
    run = decided.json()
    assert (run["status"], run["money_state"], run["actual_cost_usd"]) == expected[action], run
    result = await house.client.get(f"/api/v1/runs/{run_id}/result")
    told = {"settle": (503, "result_damaged"), "release": (409, "run_has_no_result")}
    assert (result.status_code, result.json()["code"]) == told[action]
    await house.balance()
