"""Taking runs in: keys, the last dollar, and everything that is refused; a refusal leaves nothing behind."""

import asyncio
from typing import Any

import pytest

from guardhouse.runs.plan import PackTypeNotAllowed, terms_of
from server.tests.identity import make as identity
from server.tests.runs.make import QUESTION, House


async def test_the_same_request_is_answered_with_the_same_bytes(house: House) -> None:
    first = await house.submit(meta={"trace_id": "a"})
    again = await house.submit(meta={"trace_id": "b"})
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    other = await house.submit(max_cost_usd="4.00")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert await house.balance() == ("95.0000", "5.0000", "0.0000")
    async_ = await house.client.post(
        "/api/v1/runs",
        json={"pack_type": "decision", "inputs": QUESTION, "max_cost_usd": "5.00"},
        headers={"Idempotency-Key": '"k9"', "Prefer": "respond-async"},
    )
    assert (async_.status_code, async_.headers["preference-applied"]) == (202, "respond-async")


async def test_a_hundred_at_once_under_one_key_are_one_run(house: House) -> None:
    answers = await asyncio.gather(*(house.submit() for _ in range(100)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert await house.balance() == ("95.0000", "5.0000", "0.0000")


async def test_the_money_is_enough_for_exactly_so_many(house: House) -> None:
    answers = await asyncio.gather(*(house.submit(f"k{number}", max_cost_usd="7.00") for number in range(40)))
    taken = [answer for answer in answers if answer.status_code == 201]
    refused = [answer for answer in answers if answer.status_code == 402]
    assert (len(taken), len(refused)) == (14, 26)
    assert await house.balance() == ("2.0000", "98.0000", "0.0000")
    body = refused[0].json()
    assert (body["code"], body["required_usd"], body["accepts"]) == ("insufficient_funds", "7.0000", [])


async def test_after_a_refusal_and_a_top_up_the_same_key_succeeds(house: House) -> None:
    await house.submitted("big", max_cost_usd="25.00")
    for number in range(3):
        await house.submitted(f"more{number}", max_cost_usd="25.00")
    refused = await house.submit("k", max_cost_usd="5.00")
    assert (refused.status_code, refused.json()["shortfall_usd"]) == (402, "5.0000")
    top_up = await house.client.post("/api/v1/top-ups", json={"amount_usd": "5.00", "payment_ref": "inv-2"})
    assert top_up.status_code == 201
    assert (await house.submit("k", max_cost_usd="5.00")).status_code == 201


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"pack_type": "sorcery"}, 422, "unknown_pack"),
        ({"inputs": {}}, 422, "pack_input_invalid"),
        ({"inputs": {**QUESTION, "mode": "long"}}, 422, "pack_input_invalid"),
        ({"max_cost_usd": "5.00001"}, 422, "invalid_money_scale"),
        ({"max_cost_usd": "1e3"}, 422, "invalid_money"),
        ({"max_cost_usd": 5.0}, 422, "invalid_money"),
        ({"max_cost_usd": "-1"}, 422, "invalid_money"),
        ({"max_cost_usd": ""}, 422, "invalid_money"),
        ({"max_cost_usd": "10000.01"}, 422, "invalid_money"),
        ({"max_cost_usd": "0.0049"}, 400, "max_cost_too_low"),
        ({"max_cost_usd": "25.0001"}, 402, "max_cost_exceeded"),
        ({"max_cost_usd": ...}, 422, "max_cost_required"),
        ({"reservation": {"max_cost_usd": "4.00"}}, 422, "conflicting_fields"),
        ({"reservation": {"timebox_sec": 0}}, 422, "validation_failed"),
        ({"reservation": {"timebox_sec": 91}}, 422, "validation_failed"),
        ({"reservation": {"min_reliability_score": 1.1}}, 422, "validation_failed"),
        ({"reservation": {"queue_sec": 59}}, 422, "validation_failed"),
        ({"label": "x" * 65}, 422, "validation_failed"),
        ({"colour": "red"}, 422, "validation_failed"),
    ],
)
async def test_what_is_refused_holds_nothing_and_leaves_its_key(
    house: House, changed: dict[str, Any], status: int, code: str
) -> None:
    answer = await house.submit(**changed)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert await house.balance() == ("100.0000", "0.0000", "0.0000")
    assert (await house.submit()).status_code == 201


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "idempotency_key_required"),
        ({"Idempotency-Key": ""}, "idempotency_key_invalid"),
        ({"Idempotency-Key": "x" * 256}, "idempotency_key_invalid"),
    ],
)
async def test_a_run_needs_a_key(house: House, headers: dict[str, str], code: str) -> None:
    body = {"pack_type": "decision", "inputs": QUESTION, "max_cost_usd": "5.00"}
    answer = await house.client.post("/api/v1/runs", json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_a_plan_without_the_pack_refuses_it(house: House) -> None:
    basic = terms_of("basic", 1)
    basic.admit("decision", 50_000)
    with pytest.raises(PackTypeNotAllowed):
        basic.admit("replay", 50_000)
    assert PackTypeNotAllowed.code == "pack_type_not_allowed"
    assert (await house.submit()).status_code == 201


async def test_packs_are_shown_and_quoted(house: House) -> None:
    listed = (await house.client.get("/api/v1/packs")).json()["data"]
    decision = next(one for one in listed if one["pack_type"] == "decision")
    assert decision["inputs_schema"]["properties"]["question"]
    assert (await house.client.get("/api/v1/packs/decision")).json() == decision
    assert (await house.client.get("/api/v1/packs/none")).status_code == 404
    quote = await house.client.post("/api/v1/packs/decision/quote", json={"inputs": QUESTION})
    assert quote.json() == {
        "quote_usd": "0.0100",
        "upper_bound_usd": "0.0100",
        "price_version": "2026-11",
    }
    bad = await house.client.post("/api/v1/packs/decision/quote", json={"inputs": {}})
    assert bad.json()["errors"][0]["pointer"] == "/inputs/question"


async def test_the_runs_of_others_are_not_there(house: House) -> None:
    run_id = await house.submitted()
    other = await identity.tenant(house.resources, "other")
    _, text = await identity.key(house.resources, other)
    foreign = await house.client.get(f"/api/v1/runs/{run_id}", headers={"X-API-Key": text})
    unknown = await house.client.get(
        "/api/v1/runs/01990000-0000-7000-8000-000000000000", headers={"X-API-Key": text}
    )
    for answer in (foreign, unknown):
        assert answer.status_code == 404
    assert foreign.json()["detail"] == unknown.json()["detail"]
