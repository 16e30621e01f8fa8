import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import httpx
import pytest
from fastapi import Depends
from pydantic import BaseModel

from guardhouse.foundation import idempotency
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.database import TenantKey, Tx
from guardhouse.foundation.idempotency import Call, IdempotencyInProgress, IdempotencyKeyInvalid
from guardhouse.foundation.jobs import ClaimedJob, JobContext
from guardhouse.foundation.marked_members import ShownOnce
from guardhouse.foundation.request import api_router, two_step
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.identity.caller import Caller, Require
from guardhouse.worker import upkeep
from server.tests.components import api
from server.tests.components.opened import add_tenant, opened
from server.tests.components.postgres import Clone
from server.tests.identity import make

KEYS, AGENTS = "/api/v1/keys", "/api/v1/agents"


@pytest.fixture
async def admin(resources: Resources) -> dict[str, str]:
    _, text = await make.key(resources, await make.tenant(resources))
    return make.bearing(text)


async def count(resources: Resources, table: str) -> int:
    async with system_transaction(resources.database) as tx:
        found: int = await tx.fetch_value(f"SELECT count(*) FROM {table}")
        return found


def under(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


async def test_a_repeat_gets_the_same_bytes_and_happens_once(
    client: httpx.AsyncClient, resources: Resources, admin: dict[str, str]
) -> None:
    sent = {"id": "web-1", "metadata": {"é": 1}}
    await client.post(AGENTS, json=sent, headers=admin)
    wanted = {"process_id": "web-1:7"}
    first = await client.post("/api/v1/stream/tickets", headers=admin | under("t"))
    assert (first.status_code, first.headers.get("idempotency-replayed")) == (201, None)
    again = [
        await client.post("/api/v1/stream/tickets", headers=admin | under(k)) for k in ("t", '"t"', " t ")
    ]
    assert {answer.headers["idempotency-replayed"] for answer in again} == {"true"}
    assert len({answer.content for answer in again}) == 1
    assert {answer.headers["content-type"] for answer in again} == {"application/json"}
    assert await count(resources, "stream_tickets") == 1
    assert (
        await client.post("/api/v1/scores:recalculate", json=wanted, headers=admin | under("t"))
    ).status_code == 404


async def test_what_has_no_secret_is_repeated_to_the_byte(
    client: httpx.AsyncClient, resources: Resources, admin: dict[str, str]
) -> None:
    made = (await client.post(KEYS, json={"name": "x"}, headers=admin)).json()
    path = f"{KEYS}/{made['id']}/revoke"
    first, second = [await client.post(path, headers=admin | under("r")) for _ in range(2)]
    assert (second.content, second.status_code) == (first.content, 200)
    assert second.headers["idempotency-replayed"] == "true"
    assert await count(resources, "idempotency_keys") == 1


async def test_a_secret_shown_once_is_not_stored(
    client: httpx.AsyncClient, resources: Resources, admin: dict[str, str]
) -> None:
    body = {"name": "ci", "role": "viewer"}
    first, second = [await client.post(KEYS, json=body, headers=admin | under("k")) for _ in range(2)]
    key, replayed = first.json(), second.json()
    text = key.pop("api_key")
    assert text.startswith("gh_live_")
    assert (replayed.pop("api_key"), bool(replayed.pop("remark"))) == (None, True)
    assert (replayed, second.status_code) == (key, 201)
    async with system_transaction(resources.database) as tx:
        stored = await tx.fetch_value(
            "SELECT row_to_json(i)::text || convert_from(body, 'UTF8') FROM idempotency_keys i"
        )
    assert text not in stored
    enrolled = [await client.post(AGENTS, json={"id": "a"}, headers=admin | under("k")) for _ in range(2)]
    assert [answer.json()["secret"] is None for answer in enrolled] == [False, True]


@pytest.mark.parametrize(
    ("path", "body"),
    [(KEYS, {"name": "y"}), (f"{KEYS}?", {"name": "x "}), (KEYS, {"name": "x", "role": "viewer"})],
)
async def test_another_request_under_the_key_is_409(
    client: httpx.AsyncClient, admin: dict[str, str], path: str, body: dict[str, str]
) -> None:
    assert (await client.post(KEYS, json={"name": "x"}, headers=admin | under("k"))).status_code == 201
    other = await client.post(path, json=body, headers=admin | under("k"))
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert len((await client.get(KEYS, headers=admin)).json()["data"]) == 2


async def test_another_route_and_another_tenant_know_nothing_of_a_key(
    client: httpx.AsyncClient, resources: Resources, admin: dict[str, str]
) -> None:
    _, other = await add_tenant(resources, "other")
    answers = [
        await client.post(KEYS, json={"name": "x"}, headers=admin | under("k")),
        await client.post(AGENTS, json={"id": "a"}, headers=admin | under("k")),
        await client.post(KEYS, json={"name": "z"}, headers=make.bearing(other) | under("k")),
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert not any("idempotency-replayed" in answer.headers for answer in answers)


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "\xe9", "a\tb"])
@pytest.mark.parametrize("path", [KEYS, f"{KEYS}/0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b11/revoke"])
async def test_a_key_that_is_none_is_400(
    client: httpx.AsyncClient, admin: dict[str, str], path: str, key: str
) -> None:
    headers = [(k.encode(), v.encode()) for k, v in admin.items()] + [
        (b"Idempotency-Key", key.encode("latin-1"))
    ]
    answer = await client.post(path, json={"name": "x"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_invalid")


def test_two_different_keys_are_none() -> None:
    assert idempotency.read_key([]) is None
    assert idempotency.read_key(["a", '"a"']) == "a"
    assert idempotency.read_key(["x" * 255]) == "x" * 255
    with pytest.raises(IdempotencyKeyInvalid):
        idempotency.read_key(["a", "b"])


async def test_a_refusal_leaves_the_key_usable(
    client: httpx.AsyncClient, resources: Resources, admin: dict[str, str]
) -> None:
    for body, status in [
        ({"name": ""}, 422),
        ({"name": "x", "scopes": ["platform"]}, 403),
        ({"name": "x"}, 201),
    ]:
        answer = await client.post(KEYS, json=body, headers=admin | under("k"))
        assert answer.status_code == status, answer.text
    assert await count(resources, "idempotency_keys") == 1
    again = await client.post(KEYS, json={"name": ""}, headers=admin | under("k"))
    assert again.json()["code"] == "idempotency_key_reused"


async def test_a_hundred_at_once_make_one(
    client: httpx.AsyncClient, resources: Resources, admin: dict[str, str]
) -> None:
    answers = await asyncio.gather(
        *(client.post(AGENTS, json={"id": "a"}, headers=admin | under("k")) for _ in range(100))
    )
    firsts = [answer for answer in answers if "idempotency-replayed" not in answer.headers]
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert sum(answer.status_code == 201 for answer in firsts) == 1
    assert {answer.json()["code"] for answer in firsts if answer.status_code == 409} <= {
        "idempotency_in_progress"
    }
    assert await count(resources, "host_agents") == 1


@pytest.mark.parametrize("stored", [False, True])
async def test_a_crash_between_insert_and_answer_loses_both(
    client: httpx.AsyncClient,
    resources: Resources,
    admin: dict[str, str],
    database: Clone,
    monkeypatch: pytest.MonkeyPatch,
    *,
    stored: bool,
) -> None:
    """PostgreSQL cuts the request's connection just before, or just after, the answer joins the transaction."""
    remember = idempotency.remember

    async def cut(tx: Tx, *args: Any) -> None:
        if stored:
            await remember(tx, *args)
        superuser = await asyncpg.connect(database.superuser_url)
        await superuser.execute(
            "SELECT pg_terminate_backend($1)", await tx.fetch_value("SELECT pg_backend_pid()")
        )
        await superuser.close()
        if not stored:
            await remember(tx, *args)

    with monkeypatch.context() as patched:
        patched.setattr(idempotency, "remember", cut)
        lost = await client.post(AGENTS, json={"id": "a"}, headers=admin | under("k"))
    assert (lost.status_code, lost.json()["code"]) == (503, "unavailable")
    assert (await count(resources, "host_agents"), await count(resources, "idempotency_keys")) == (0, 0)
    again = await client.post(AGENTS, json={"id": "a"}, headers=admin | under("k"))
    assert (again.status_code, again.headers.get("idempotency-replayed")) == (201, None)


async def test_an_unfinished_first_one_is_waited_for_and_then_told(
    client: httpx.AsyncClient, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "PATIENCE_SECONDS", 0.2)
    tenant, text = await add_tenant(resources, "acme")
    call = Call(tenant, AGENTS, "k", b"")
    async with tenant_transaction(resources.database, tenant) as tx:
        await idempotency.claim(tx, call, resources.clock.now())
        busy = await client.post(AGENTS, json={"id": "a"}, headers=make.bearing(text) | under("k"))
        assert (busy.status_code, busy.json()["code"]) == (409, "idempotency_in_progress")
        assert busy.headers["retry-after"] == "1"
    done = await client.post(AGENTS, json={"id": "a"}, headers=make.bearing(text) | under("k"))
    assert done.status_code == 201


async def test_a_claim_writes_nothing_so_that_turns_can_still_be_taken(resources: Resources) -> None:
    tenant, _ = await add_tenant(resources, "acme")
    async with tenant_transaction(resources.database, tenant) as tx:
        await idempotency.claim(tx, Call(tenant, AGENTS, "k", b""), resources.clock.now())
        assert await tx.fetch_value("SELECT pg_current_xact_id_if_assigned() IS NULL")


async def test_answers_are_kept_for_a_day(database_url: str, tmp_path: Path) -> None:
    clock = SetClock()
    async with opened(database_url, tmp_path, clock=clock) as resources, api.client_of(resources) as client:
        _, text = await add_tenant(resources, "acme")

        async def post() -> httpx.Response:
            return await client.post(KEYS, json={"name": "x"}, headers=make.bearing(text) | under("k"))

        first = await post()
        clock.move(86_399)
        assert (await post()).json()["id"] == first.json()["id"]
        clock.move(2)
        assert await pruned(resources) == 0
        later = await post()
        assert (later.status_code, later.json()["id"] != first.json()["id"]) == (201, True)
        clock.move(timedelta(hours=12).total_seconds())
        assert (await post()).json()["id"] == later.json()["id"]


async def pruned(resources: Resources) -> int:
    """Run the schedule as the worker does and return what is left."""
    job = ClaimedJob(1, upkeep.prune_answers.name, "null", None, "platform", 1, 0, resources.clock.now(), "")
    await upkeep.prune_answers.run(JobContext(resources, job))
    return await count(resources, "idempotency_keys")


class Sent(BaseModel):
    number: int
    secret: ShownOnce


class Outside:
    """Something the operation talks to while no transaction is open."""

    def __init__(self) -> None:
        self.calls = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails = False

    async def call(self) -> int:
        self.calls += 1
        await self.gate.wait()
        if self.fails:
            raise RuntimeError("tiger")
        return self.calls


@pytest.fixture
async def outside() -> Outside:
    return Outside()


@pytest.fixture
async def sending(resources: Resources, outside: Outside) -> AsyncIterator[httpx.AsyncClient]:
    router = api_router("test")

    @router.post("/send")
    @two_step
    async def send(caller: Annotated[Caller, Depends(Require(None))]) -> Sent:
        return Sent(number=await outside.call(), secret=caller.tenant_slug)

    async with api.running(resources) as app:
        app.include_router(router)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=api.BASE_URL) as client:
            yield client


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


async def test_two_steps_answer_once(
    sending: httpx.AsyncClient, outside: Outside, admin: dict[str, str]
) -> None:
    first, second = [await sending.post("/api/v1/send", headers=admin | under("k")) for _ in range(2)]
    assert (first.json(), outside.calls) == ({"number": 1, "secret": "acme"}, 1)
    assert second.json() | {"remark": ""} == {"number": 1, "secret": None, "remark": ""}
    assert second.headers["idempotency-replayed"] == "true"
    assert (await sending.post("/api/v1/send", headers=admin)).json()["number"] == 2


async def test_two_steps_hold_no_transaction_and_keep_the_key_meanwhile(
    sending: httpx.AsyncClient,
    outside: Outside,
    admin: dict[str, str],
    resources: Resources,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(idempotency, "PATIENCE_SECONDS", 0.2)
    outside.gate.clear()
    first = asyncio.create_task(sending.post("/api/v1/send", headers=admin | under("k")))
    await until(lambda: outside.calls == 1)
    async with system_transaction(resources.database) as tx:
        waiting = await tx.fetch_value("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
                                       " AND datname = current_database()")  # fmt: skip
    assert waiting == 0
    second = await sending.post("/api/v1/send", headers=admin | under("k"))
    assert (second.status_code, second.json()["code"]) == (409, "idempotency_in_progress")
    outside.gate.set()
    assert (await first).json()["number"] == 1
    assert (await sending.post("/api/v1/send", headers=admin | under("k"))).json()["number"] == 1
    assert outside.calls == 1


async def test_two_steps_that_fail_leave_the_key_usable(
    sending: httpx.AsyncClient, outside: Outside, admin: dict[str, str], resources: Resources
) -> None:
    outside.fails = True
    assert (await sending.post("/api/v1/send", headers=admin | under("k"))).status_code == 500
    assert await count(resources, "idempotency_keys") == 0
    outside.fails = False
    assert (await sending.post("/api/v1/send", headers=admin | under("k"))).json()["number"] == 2


async def test_a_lapsed_lease_is_another_s_to_take(resources: Resources) -> None:
    tenant, _ = await add_tenant(resources, "acme")
    now = resources.clock.now()
    call = Call(tenant, "/x", "k", b"f")
    answer = idempotency.Answer(200, (("content-type", "text/plain"),), b"done")

    async def claimed(seconds: float) -> idempotency.Answer | None:
        async with tenant_transaction(resources.database, tenant) as tx:
            return await idempotency.claim(tx, call, now + timedelta(seconds=seconds))

    async with tenant_transaction(resources.database, tenant) as tx:
        await idempotency.claim(tx, call, now)
        lost = await idempotency.lease(tx, call, now)
    with pytest.raises(IdempotencyInProgress):
        await claimed(59)
    assert await claimed(60) is None
    async with tenant_transaction(resources.database, tenant) as tx:
        held = await idempotency.lease(tx, call, now + timedelta(seconds=61))
    async with tenant_transaction(resources.database, tenant) as tx:
        assert not await idempotency.finish(tx, call, lost, answer, now)
        assert await idempotency.finish(tx, call, held, answer, now)
    assert await claimed(62) == answer


async def test_the_wall_between_tenants_holds_for_answers(resources: Resources) -> None:
    keys: list[TenantKey] = []
    for slug in ("a", "b"):
        tenant, _ = await add_tenant(resources, slug)
        keys.append(tenant)
        async with tenant_transaction(resources.database, tenant) as tx:
            answer = idempotency.Answer(201, (), json.dumps(slug).encode())
            await idempotency.remember(tx, Call(tenant, "/x", "k", b""), answer, resources.clock.now())
    async with tenant_transaction(resources.database, keys[0]) as tx:
        assert await tx.fetch_value("SELECT count(*) FROM idempotency_keys") == 1
        assert await idempotency.claim(tx, Call(keys[1], "/x", "k", b""), resources.clock.now()) is None
