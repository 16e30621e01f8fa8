import asyncio
from uuid import uuid4

import asyncpg
import pytest

from guardhouse.foundation import correlation
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.notices import read
from guardhouse.notices.identity_kinds import KeyRevoked
from guardhouse.notices.publish import (
    Draft,
    NoticeTooLarge,
    Origin,
    TurnTooLate,
    publish,
    publish_all,
    take_turn,
)
from server.tests.notices.make import ACME, UMBRELLA, readable, report, say


class _Undo(Exception):  # noqa: N818 - a test's own
    pass


async def test_a_notice_carries_what_it_was_given(resources: Resources) -> None:
    correlation.begin("req-7")
    project = uuid4()
    async with tenant_transaction(resources.database, ACME) as tx:
        said = await publish(
            tx, report("db-1", 9), tenant_id=ACME.id, subject_seq=4, origin=Origin(project_id=project)
        )
        kinds = ["telemetry.received"]
        early = await read.list_notices(tx, ACME.id, kinds=kinds, before=None, limit=10)
    assert early == [], "nobody reads what is not committed"
    await readable(resources)
    async with tenant_transaction(resources.database, ACME) as tx:
        (found,) = await read.list_notices(tx, ACME.id, kinds=kinds, before=None, limit=10)
    assert (found.notice_id, found.subject, found.subject_seq) == (said, "agent:db-1", 4)
    assert (found.correlation_id, found.project_id, found.severity) == ("req-7", project, "info")
    assert report("db-1", 9) == report().model_validate_json(found.data)


async def test_what_is_rolled_back_was_never_said(resources: Resources) -> None:
    async def fail() -> None:
        async with tenant_transaction(resources.database, ACME) as tx:
            await publish(tx, report(), tenant_id=ACME.id, subject_seq=1)
            raise _Undo

    with pytest.raises(_Undo):
        await fail()
    async with system_transaction(resources.database) as tx:
        assert await tx.fetch_value("SELECT count(*) FROM notices") == 0


async def test_many_drafts_keep_their_order(resources: Resources) -> None:
    async with system_transaction(resources.database) as tx:
        start = await read.newest(tx)
        ids = await publish_all(tx, [Draft(report(accepted=n), ACME.id, n) for n in range(200)])
        assert await publish_all(tx, []) == []
    await readable(resources)
    async with system_transaction(resources.database) as tx:
        found = await read.read_after(tx, start, 500)
    assert [notice.notice_id for notice in found.notices] == ids


async def test_too_much_data_is_refused_before_anything_is_written(resources: Resources) -> None:
    async with system_transaction(resources.database) as tx:
        with pytest.raises(NoticeTooLarge):
            await publish_all(tx, [Draft(report(), ACME.id, 1), Draft(report("x" * 20_000), ACME.id, 1)])
        assert await tx.fetch_value("SELECT count(*) FROM notices") == 0


async def test_one_wake_up_per_transaction(resources: Resources) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await asyncpg.connect(resources.database.driver_url)
    await listener.add_listener("notices", lambda *got: heard.put_nowait(str(got[-1])))
    await say(resources, n=5)
    async with system_transaction(resources.database) as tx:
        await tx.run("SELECT pg_notify('notices', 'end')")
    assert [await asyncio.wait_for(heard.get(), 10) for _ in range(2)] == ["", "end"]
    await listener.close()


async def test_a_turn_comes_before_the_first_write(resources: Resources) -> None:
    async with tenant_transaction(resources.database, ACME) as tx:
        await take_turn(tx, ACME.id, "agent:web-1")
        await publish(tx, report(), tenant_id=ACME.id, subject_seq=1)
        with pytest.raises(TurnTooLate):
            await take_turn(tx, ACME.id, "agent:web-2")


async def test_the_database_refuses_a_notice_in_anothers_name(resources: Resources) -> None:
    async def forge() -> None:
        async with tenant_transaction(resources.database, ACME) as tx:
            await publish(tx, report(), tenant_id=UMBRELLA.id, subject_seq=1)

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await forge()


async def test_a_tenant_reads_only_its_own_even_when_it_asks_for_all(resources: Resources) -> None:
    async with system_transaction(resources.database) as tx:
        start = await read.newest(tx)
    await say(resources, ACME, "ours")
    await say(resources, UMBRELLA, "theirs")
    async with tenant_transaction(resources.database, ACME) as tx:
        found = await read.read_after(tx, start, 100)
        assert [notice.subject for notice in found.notices] == ["agent:ours"]
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await tx.fetch("SELECT * FROM notice_cursors")


async def test_a_partition_cannot_be_read_around_the_policy(resources: Resources) -> None:
    async with system_transaction(resources.database) as tx:
        partition = await tx.fetch_value(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'notices'::regclass LIMIT 1"
        )

    async def peek() -> None:
        async with tenant_transaction(resources.database, ACME) as tx:
            await tx.fetch(f"SELECT * FROM {partition}")

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await peek()


def test_a_key_notice_names_the_key() -> None:
    assert KeyRevoked.model_validate(KeyRevoked.example).subject.startswith("key:")
