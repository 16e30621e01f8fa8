"""Money over HTTP: credit it, see it, follow it, and be refused what is not money."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity.store import Tenant
from server.tests.components import api
from server.tests.components.opened import opened
from server.tests.identity import make as identity
from server.tests.ledger.make import CENT, ended, held


@pytest_asyncio.fixture
async def resources(database_url: str, tmp_path: Path) -> AsyncIterator[Resources]:
    async with opened(database_url, tmp_path, self_top_up=True) as found:
        yield found


@pytest_asyncio.fixture
async def tenant(resources: Resources) -> Tenant:
    return await identity.tenant(resources)


@pytest_asyncio.fixture
async def payer(resources: Resources, tenant: Tenant, client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of the tenant's administrator."""
    _, text = await identity.key(resources, tenant)
    client.headers["X-API-Key"] = text
    return client


async def top_up(payer: httpx.AsyncClient, usd: Any = "100.00", **more: Any) -> httpx.Response:
    return await payer.post("/api/v1/top-ups", json={"amount_usd": usd, "payment_ref": "inv-1", **more})


async def test_money_comes_in_once_and_is_shown(payer: httpx.AsyncClient, resources: Resources) -> None:
    first, second = await top_up(payer), await top_up(payer)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["top_up_id"] == second.json()["top_up_id"]
    assert first.json()["balance_after_usd"] == "100.0000"
    balance = (await payer.get("/api/v1/balance")).json()
    assert (balance["available_usd"], balance["funded_usd"], balance["available_micros"]) == (
        "100.0000",
        "100.0000",
        100_000_000,
    )
    listed = (await payer.get("/api/v1/top-ups")).json()["data"]
    assert [(one["payment_ref"], one["amount_usd"]) for one in listed] == [("inv-1", "100.0000")]
    other = await top_up(payer, "1.00")
    assert (other.status_code, other.json()["code"]) == (409, "payment_ref_reused")
    entries = (await payer.get("/api/v1/audit?action=ledger.top_up")).json()["data"]
    assert [one["after"]["amount_usd"] for one in entries] == ["100.0000"]
    async with system_transaction(resources.database) as tx:
        told = await tx.fetch("SELECT data FROM notices WHERE kind = 'ledger.top_up'")
    assert [one["data"]["payment_ref"] for one in told] == ["inv-1"]


@pytest.mark.parametrize(
    ("usd", "code"),
    [
        ("5.00001", "invalid_money_scale"),
        ("1e3", "invalid_money"),
        (5.0, "invalid_money"),
        (5, "invalid_money"),
        ("-1", "invalid_money"),
        ("\u0665", "invalid_money"),
        ("", "invalid_money"),
        (None, "invalid_money"),
        ("10000.01", "invalid_money"),
        ("123456", "invalid_money"),
        ("0", "invalid_money"),
        ("+5", "invalid_money"),
        (" 5", "invalid_money"),
        ("5.", "invalid_money"),
    ],
)
async def test_what_is_no_money_is_refused(payer: httpx.AsyncClient, usd: Any, code: str) -> None:
    answer = await top_up(payer, usd)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.json()["errors"][0]["pointer"] == "/amount_usd"


async def test_books_are_followed_verified_and_exported(
    payer: httpx.AsyncClient, resources: Resources, tenant: Tenant
) -> None:
    await top_up(payer, payment_ref="=cmd()")
    run_id = await held(resources, tenant, 50 * CENT)
    waiting = await held(resources, tenant, 10 * CENT)
    await ended(resources, tenant, run_id, 50 * CENT, posted=2 * CENT)
    moved = (await payer.get("/api/v1/ledger/transfers", params={"run_id": str(run_id)})).json()["data"]
    assert [one["kind"] for one in moved] == ["release", "post", "hold"]
    first = (await payer.get("/api/v1/ledger/transfers?limit=3")).json()
    rest = (
        await payer.get(f"/api/v1/ledger/transfers?limit=3&cursor={first['pagination']['cursor']}")
    ).json()
    assert [one["seq"] for one in first["data"] + rest["data"]] == [5, 4, 3, 2, 1]
    holds = (await payer.get("/api/v1/ledger/holds")).json()["data"]
    assert [(one["run_id"], one["amount_usd"]) for one in holds] == [(str(waiting), "0.1000")]
    assert (await payer.get("/api/v1/balance")).json()["open_holds"] == 1
    checked = (await payer.get("/api/v1/ledger/verification")).json()
    assert (checked["whole"], checked["transfers"], checked["faults"]) == (True, 5, [])
    statement = await payer.get("/api/v1/ledger/statement")
    lines = statement.text.split("\r\n")
    assert statement.headers["content-type"].startswith("text/csv")
    assert len(lines) == 7
    assert lines[1].split(",")[5:7] == ["100.0000", "100.0000"]
    assert lines[1].endswith("self/=cmd()")  # no cell begins with a formula
    assert lines[5].split(",")[6:8] == ["99.8800", "0.1000"]
    for span in ("from=2026-02-01&to=2026-01-01", "from=2020-01-01&to=2026-01-01"):
        refused = await payer.get(f"/api/v1/ledger/statement?{span}")
        assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")


async def test_nobody_credits_himself_where_it_is_off(database_url: str, tmp_path: Path) -> None:
    async with opened(database_url, tmp_path) as resources, api.client_of(resources) as client:
        tenant = await identity.tenant(resources)
        _, text = await identity.key(resources, tenant)
        client.headers["X-API-Key"] = text
        answer = await top_up(client)
        assert (answer.status_code, answer.json()["code"]) == (403, "self_top_up_off")
        path = f"/api/v1/admin/tenants/{tenant.id}/top-ups"
        body = {"amount_usd": "7.00", "payment_ref": "inv-9"}
        assert (await client.post(path, json=body)).status_code == 403
        _, staff = await identity.key(resources, tenant, "platform")
        made = await client.post(path, json=body, headers={"X-API-Key": staff})
        assert (made.status_code, made.json()["balance_after_usd"]) == (201, "7.0000")
        again = await client.post(path, json=body, headers={"X-API-Key": staff})
        assert again.status_code == 200
        unknown = "/api/v1/admin/tenants/01990000-0000-7000-8000-000000000000/top-ups"
        assert (await client.post(unknown, json=body, headers={"X-API-Key": staff})).status_code == 404


async def test_a_statement_has_an_end(payer: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardhouse.ledger.statement.MOST_ROWS", 0)
    await top_up(payer)
    answer = await payer.get("/api/v1/ledger/statement")
    assert (answer.status_code, answer.json()["code"]) == (422, "statement_too_long")
