import asyncio
import json
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest_asyncio

from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.identity import keys
from guardhouse.notices.identity_kinds import KeyRevoked
from guardhouse.notices.publish import Draft, publish, publish_all
from server.tests.components.opened import add_tenant, opened
from server.tests.live.make import PATIENCE_SECONDS, URL, Served, serving, streaming
from server.tests.notices.make import insert_old, report, say


@pytest_asyncio.fixture
async def served(resources: Resources) -> AsyncIterator[Served]:
    async with serving(resources) as found:
        yield found


@pytest_asyncio.fixture
async def acme(resources: Resources) -> tuple[TenantKey, str]:
    return await add_tenant(resources, "acme")


Owner = tuple[TenantKey, str]


async def test_a_notice_reaches_whoever_listens(resources: Resources, served: Served, acme: Owner) -> None:
    tenant, key = acme
    async with streaming(served, key) as stream:
        headers = stream.response.headers
        await say(resources, tenant, "web-9")
        (notice,) = await stream.notices(1)
    assert headers["content-type"].startswith("text/event-stream")
    assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
    assert (notice["kind"], notice["subject"]) == ("telemetry.received", "agent:web-9")
    assert notice["data"] == json.loads(report("web-9").model_dump_json())


async def test_a_stream_tells_nothing_of_before_and_resumes_from_its_first_id(
    resources: Resources, served: Served, acme: Owner
) -> None:
    tenant, key = acme
    await say(resources, tenant, "before")
    async with streaming(served, key) as stream:
        last_id = stream.last_id
    await say(resources, tenant, "between")
    async with streaming(served, key, last_id=last_id) as stream:
        await say(resources, tenant, "after")
        assert [n["subject"] for n in await stream.notices(2)] == ["agent:between", "agent:after"]


async def test_coming_back_again_and_again_loses_and_repeats_nothing(
    resources: Resources, served: Served, acme: Owner
) -> None:
    tenant, key = acme
    seen: list[str] = []
    async with streaming(served, key) as stream:
        last_id = stream.last_id

    async def write(agent_id: str) -> list[str]:
        ids = []
        for number in range(60):
            async with tenant_transaction(resources.database, tenant) as tx:
                ids.append(str(await publish(tx, report(agent_id), tenant_id=tenant.id, subject_seq=number)))
                await asyncio.sleep(0.002)
        return ids

    writing = asyncio.gather(*(write(f"web-{n}") for n in range(3)))
    size = 1
    while len(seen) < 180:
        async with streaming(served, key, last_id=last_id) as stream:
            seen += [notice["id"] for notice in await stream.notices(min(size, 180 - len(seen)))]
            last_id = stream.last_id
        size = size % 23 + 5
    written = await writing
    assert len(set(seen)) == 180
    assert set(seen) == {id_ for ids in written for id_ in ids}
    for ids in written:
        assert [id_ for id_ in seen if id_ in ids] == ids


async def test_tenants_hear_their_own(resources: Resources, served: Served, acme: Owner) -> None:
    tenant, key = acme
    other, other_key = await add_tenant(resources, "umbrella")
    async with streaming(served, key) as ours, streaming(served, other_key) as theirs:
        await say(resources, other, "theirs")
        await say(resources, tenant, "ours")
        assert [n["subject"] for n in await ours.notices(1)] == ["agent:ours"]
        assert [n["subject"] for n in await theirs.notices(1)] == ["agent:theirs"]
        last_id = ours.last_id
    await say(resources, other, "theirs")
    await say(resources, tenant, "ours")
    async with streaming(served, key, last_id=last_id) as ours:
        assert [n["subject"] for n in await ours.notices(1)] == ["agent:ours"]


async def test_a_listener_hears_only_kinds_it_may_read(resources: Resources, served: Served) -> None:
    tenant, key = await add_tenant(resources, "acme", role="viewer")
    async with streaming(served, key) as stream:
        last_id = stream.last_id
        async with tenant_transaction(resources.database, tenant) as tx:
            secret = KeyRevoked.model_validate(KeyRevoked.example)
            await publish_all(tx, [Draft(secret, tenant.id, 1), Draft(report(), tenant.id, 1)])
        assert [n["kind"] for n in await stream.notices(1)] == ["telemetry.received"]
    async with streaming(served, key, last_id=last_id) as stream:
        assert [n["kind"] for n in await stream.notices(1)] == ["telemetry.received"]


async def test_filters_hold_for_the_replay_and_for_the_live_part(
    resources: Resources, served: Served, acme: Owner
) -> None:
    tenant, key = acme

    async def all_sorts() -> None:
        async with tenant_transaction(resources.database, tenant) as tx:
            secret = KeyRevoked.model_validate(KeyRevoked.example)
            await publish_all(
                tx,
                [
                    Draft(report("a"), tenant.id, 1),
                    Draft(secret, tenant.id, 1),
                    Draft(report("b"), tenant.id, 1),
                ],
            )

    async with streaming(served, key) as stream:
        last_id = stream.last_id
    await all_sorts()
    async with (
        streaming(served, key, last_id=last_id, kinds="key.*,risk.*") as by_kind,
        streaming(served, key, last_id=last_id, subject="agent:b") as by_subject,
        streaming(served, key, last_id=last_id, min_severity="low") as by_severity,
    ):
        await all_sorts()
        assert {n["kind"] for n in await by_kind.notices(2)} == {"key.revoked"}
        assert {n["subject"] for n in await by_subject.notices(2)} == {"agent:b"}
        assert {n["severity"] for n in await by_severity.notices(2)} == {"low"}


async def test_who_was_away_for_long_is_told_and_gets_what_is_kept(
    resources: Resources, served: Served, acme: Owner
) -> None:
    _, key = acme
    now = resources.clock.now()
    async with system_transaction(resources.database) as tx:
        epoch = await tx.fetch_value("SELECT last_value FROM notice_epochs")
        for number, age in enumerate((10, 9, 2), start=1):
            await insert_old(tx, now - timedelta(days=age), number, tenant=acme[0])
    async with streaming(served, key, last_id=f"{epoch}.1.1") as stream:
        reset, kept = await stream.next(), await stream.next()
    assert reset is not None
    assert (reset.name, reset.data) == ("reset", {"oldest_id": f"{epoch}.3.3"})
    assert kept is not None
    assert kept.id == f"{epoch}.3.3"


async def test_who_does_not_read_gets_a_gap_and_loses_nothing_by_coming_back(
    resources: Resources, served: Served, acme: Owner
) -> None:
    tenant, key = acme
    big = "x" * 15_000
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.settimeout(0)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(lazy, ("127.0.0.1", served.port))
        request = f"GET {URL} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n"
        await loop.sock_sendall(lazy, request.encode())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not served.hub.count:
                await asyncio.sleep(0.01)
            (client,) = served.hub._clients()
            said = 0
            while not client.ended:
                async with tenant_transaction(resources.database, tenant) as tx:
                    drafts = [Draft(report(big), tenant.id, said + n) for n in range(1, 51)]
                    await publish_all(tx, drafts)
                said += 50
                await asyncio.sleep(0.01)
            heard = b""
            while chunk := await loop.sock_recv(lazy, 1 << 20):
                heard += chunk
    events = [part for part in heard.split(b"\n\n") if b"event: " in part]
    assert b"event: gap" in events[-1]
    numbers = [
        int(part.split(b'"subject_seq":')[1].split(b",")[0])
        for part in events
        if b"x-accel" not in part and b"subject_seq" in part
    ]
    last_id = next(
        line[4:].decode()
        for part in reversed(events)
        for line in part.splitlines()
        if line.startswith(b"id: ")
    )
    async with streaming(served, key, last_id=last_id) as stream:
        numbers += [n["subject_seq"] for n in await stream.notices(said - len(numbers))]
    assert numbers == list(range(1, said + 1))


async def test_a_draining_process_says_goodbye_and_takes_no_more(
    resources: Resources, served: Served, acme: Owner
) -> None:
    tenant, key = acme
    async with streaming(served, key) as stream:
        await say(resources, tenant)
        await stream.notices(1)
        resources.drain.set()
        (farewell,) = await stream.rest()
    assert (farewell.name, farewell.data) == ("goodbye", {"reason": "draining"})
    assert farewell.retry is not None
    async with served.client(key) as client:
        refused = await client.get(URL)
    assert (refused.status_code, refused.json()["code"]) == (503, "draining")
    assert int(refused.headers["retry-after"]) >= 1


async def test_a_revoked_key_ends_its_streams(resources: Resources, served: Served, acme: Owner) -> None:
    tenant, key = acme
    async with streaming(served, key) as stream:
        async with system_transaction(resources.database) as tx:
            (row,) = await keys.list_keys(tx, tenant.id, 10)
            await keys.revoke_key(tx, tenant.id, row.id, revoked_by="test")
        *_, farewell = [event for event in await stream.rest() if event.name != "heartbeat"]
    assert (farewell.name, farewell.data) == ("goodbye", {"reason": "credential"})


async def test_a_client_that_leaves_is_forgotten(served: Served, acme: Owner) -> None:
    async with streaming(served, acme[1]):
        assert served.hub.count == 1
    async with asyncio.timeout(PATIENCE_SECONDS):
        while served.hub.count:
            await asyncio.sleep(0.01)
    assert served.hub._groups == {}


async def test_no_more_streams_than_the_limit(database_url: str, tmp_path: Path) -> None:
    async with opened(database_url, tmp_path, stream_clients=1) as resources:
        _, key = await add_tenant(resources, "acme")
        async with serving(resources) as served, streaming(served, key), served.client(key) as client:
            refused = await client.get(URL)
    assert (refused.status_code, refused.json()["code"]) == (503, "streams_full")
    assert int(refused.headers["retry-after"]) >= 1


async def test_a_heartbeat_carries_a_place_to_resume_from(
    resources: Resources, served: Served, acme: Owner
) -> None:
    tenant, key = acme
    async with streaming(served, key, kinds="key.created") as stream:
        first = stream.last_id
        await say(resources, tenant)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while str(served.hub.position) == first:
                await asyncio.sleep(0.01)
        for second in range(15):
            served.hub._beat(second)
        beat = await stream.next()
    assert beat is not None
    assert (beat.name, beat.id) == ("heartbeat", str(served.hub.position))
