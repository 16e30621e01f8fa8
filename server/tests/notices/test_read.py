import asyncio
import random
from collections import defaultdict
from datetime import timedelta

import pytest

from guardhouse.foundation.database import Database
from guardhouse.foundation.pages import InvalidCursor
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import system_transaction, tenant_transaction
from guardhouse.notices import read, store
from guardhouse.notices.publish import publish, take_turn
from guardhouse.notices.read import Mark, Notice, Position, Slice
from server.tests.notices.make import ACME, UMBRELLA, insert_old, readable, report, say

WRITERS, ROUNDS, SUBJECTS = 8, 40, ("web-1", "web-2", "web-3")


async def newest(resources: Resources) -> Mark:
    async with system_transaction(resources.database) as tx:
        return await read.newest(tx)


async def after(resources: Resources, mark: Mark, limit: int = 1000) -> Slice:
    async with system_transaction(resources.database) as tx:
        return await read.read_after(tx, mark, limit)


async def publish_next(database: Database, subject: str, dice: random.Random) -> None:
    """One transition of a subject: its turn, its row, the notice, with pauses in between."""
    async with system_transaction(database) as tx:
        await asyncio.sleep(dice.random() * 0.004)
        await take_turn(tx, ACME.id, subject)
        number = await tx.fetch_value(
            "UPDATE job_schedules SET last_job = last_job + 1 WHERE name = $1 RETURNING last_job", subject
        )
        await publish(tx, report(subject), tenant_id=ACME.id, subject_seq=number)
        await asyncio.sleep(dice.random() * 0.004)


async def test_eight_writers_lose_nothing_and_keep_each_subjects_order(resources: Resources) -> None:
    async with system_transaction(resources.database) as tx:
        await tx.run_many(
            "INSERT INTO job_schedules (name, next_at, last_job) VALUES ($1, now(), 0)",
            [(subject,) for subject in SUBJECTS],
        )
    mark, got = await newest(resources), list[Notice]()
    writing = True

    async def write(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(ROUNDS):
            await publish_next(resources.database, dice.choice(SUBJECTS), dice)

    async def follow() -> None:
        nonlocal mark
        while True:
            last_round = not writing
            found = await after(resources, mark, 7)
            got.extend(found.notices)
            if found.notices:
                mark = Mark(found.notices[-1].position, found.notices[-1].occurred_at)
            elif last_round and not found.held:
                return
            await asyncio.sleep(0)

    following = asyncio.create_task(follow())
    await asyncio.gather(*(write(seed) for seed in range(WRITERS)))
    writing = False
    await asyncio.wait_for(following, 30)
    numbers = defaultdict(list)
    for notice in got:
        numbers[notice.subject].append(notice.subject_seq)
    assert len(got) == WRITERS * ROUNDS
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())


async def test_a_late_commit_is_not_skipped(resources: Resources) -> None:
    mark = await newest(resources)
    async with tenant_transaction(resources.database, ACME) as slow:
        await publish(slow, report("slow"), tenant_id=ACME.id, subject_seq=1)
        await say(resources, agent_id="quick", wait=False)
        found = await after(resources, mark)
        assert found == Slice([], held=True)
    await readable(resources)
    found = await after(resources, mark)
    assert [notice.subject for notice in found.notices] == ["agent:slow", "agent:quick"]
    assert not found.held


async def test_a_long_write_elsewhere_holds_readers_and_lets_them_go(resources: Resources) -> None:
    mark = await newest(resources)
    async with system_transaction(resources.database) as writer:
        await writer.run("SELECT pg_current_xact_id()")
        await say(resources, wait=False)
        assert await after(resources, mark) == Slice([], held=True)
        assert (await newest(resources)).position == mark.position
    await readable(resources)
    assert len((await after(resources, mark)).notices) == 1


async def test_a_long_read_holds_nobody(resources: Resources) -> None:
    mark = await newest(resources)
    async with system_transaction(resources.database) as reader:
        await reader.fetch("SELECT count(*) FROM notices")
        await say(resources)
        assert len((await after(resources, mark)).notices) == 1


async def test_the_log_is_read_in_slices_without_seam(resources: Resources) -> None:
    start = await newest(resources)
    await say(resources, n=25)
    mark, seen = start, list[int]()
    while found := (await after(resources, mark, 10)).notices:
        seen += [notice.subject_seq for notice in found]
        mark = Mark(found[-1].position, found[-1].occurred_at)
    assert seen == list(range(1, 26))
    assert mark == await newest(resources)


async def test_a_list_goes_backwards_through_one_tenant(resources: Resources) -> None:
    await say(resources, ACME, n=5)
    await say(resources, UMBRELLA, n=5)
    kinds = ["telemetry.received"]
    async with tenant_transaction(resources.database, ACME) as tx:
        first = await read.list_notices(tx, ACME.id, kinds=kinds, before=None, limit=3)
        rest = await read.list_notices(tx, ACME.id, kinds=kinds, before=first[-1].position, limit=3)
        assert await read.list_notices(tx, ACME.id, kinds=["key.created"], before=None, limit=3) == []
    assert [notice.subject_seq for notice in first + rest] == [5, 4, 3, 2, 1]


async def test_a_restored_dump_begins_a_new_epoch_and_readers_go_on(resources: Resources) -> None:
    async with system_transaction(resources.database) as tx:
        now = await tx.fetch_value("SELECT now()")
        epoch = await tx.fetch_value("SELECT last_value FROM notice_epochs")
        # What a dump brings: notices with transaction ids this cluster has not reached.
        await insert_old(tx, now, 1, txid=2**40)
    mark = Mark(Position(epoch, 2**40 - 1, 0), now)
    assert (await after(resources, mark)).held
    async with system_transaction(resources.database) as tx:
        assert await read.keep_epoch(tx)
        assert not await read.keep_epoch(tx)
    await say(resources)
    found = await after(resources, mark)
    assert [notice.position.epoch for notice in found.notices] == [epoch, epoch + 1]


async def test_a_cursor_ahead_of_the_cluster_also_means_a_restore(resources: Resources) -> None:
    async with system_transaction(resources.database) as tx:
        await tx.run(
            "INSERT INTO notice_cursors SELECT 'another', last_value, $1::xid8, 1 FROM notice_epochs", 2**40
        )
        assert await read.keep_epoch(tx)


async def test_a_kept_position_resumes_exactly_there(resources: Resources) -> None:
    await say(resources, n=3)
    position = (await newest(resources)).position
    async with system_transaction(resources.database) as tx:
        mark, reset = await read.resume_at(tx, position, resources.clock.now())
    assert (mark.position, reset) == (position, False)


async def test_a_position_older_than_seven_days_is_reset_to_what_is_kept(resources: Resources) -> None:
    now = resources.clock.now()
    async with system_transaction(resources.database) as tx:
        for number, days in enumerate((9, 8, 3), start=1):
            await insert_old(tx, now - timedelta(days=days, hours=23), number)
        epoch = await tx.fetch_value("SELECT last_value FROM notice_epochs")
        mark, reset = await read.resume_at(tx, Position(epoch, 1, 1), now)
        assert (mark.position, reset) == (Position(epoch, 2, 2), True)
        kept = await read.read_after(tx, mark, 10)
        assert [notice.position.id for notice in kept.notices] == [3]
        mark, reset = await read.resume_at(tx, Position(epoch, 2, 2), now)
        assert not reset, "nothing after it is gone"


async def test_a_position_from_elsewhere_is_refused(resources: Resources) -> None:
    position = (await newest(resources)).position
    for foreign in (Position(position.epoch, 2**50, 1), Position(position.epoch + 1, 1, 1)):
        async with system_transaction(resources.database) as tx:
            with pytest.raises(InvalidCursor):
                await read.resume_at(tx, foreign, resources.clock.now())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.2",
        "1.2.3.4",
        "a.b.c",
        "1.2.-3",
        " 1.2.3",
        "1.2.3\n",
        "1..3",
        "9" * 12 + ".1.1",
        "\u0661.2.3",
    ],
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor):
        read.parse_position(text)


def test_a_position_survives_its_text() -> None:
    position = Position(3, 2**60, 2**50)
    assert read.parse_position(str(position)) == position
    assert Position(1, 9, 9) < Position(2, 1, 1) < Position(2, 1, 2) < Position(2, 2, 1)


async def test_old_partitions_are_not_touched_by_a_reader_at_the_end(resources: Resources) -> None:
    await say(resources)
    mark = await newest(resources)
    async with system_transaction(resources.database) as tx:
        plan = await tx.fetch(
            f"EXPLAIN SELECT {store._COLUMNS} FROM notices WHERE (epoch, txid, id) > (1, '5'::xid8, 4)"
            f" AND occurred_at >= '{(mark.occurred_at - read.SKEW).isoformat()}' ORDER BY epoch, txid, id LIMIT 9"
        )
    yesterday = (mark.occurred_at - timedelta(days=1)).strftime("notices_p%Y%m%d")
    if (mark.occurred_at - read.SKEW).date() == mark.occurred_at.date():
        assert not [line for (line,) in plan if yesterday in line]
