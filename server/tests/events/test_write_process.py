"""Rows of events as they lie in the database."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from guardhouse.events import write_process
from guardhouse.events.identify import identifier
from guardhouse.events.store import LATE
from guardhouse.events.write_process import AlreadyStored, DayMissing, NewEvent, Owner
from guardhouse.foundation.clock import SetClock
from guardhouse.foundation.database import TenantKey
from guardhouse.foundation.resources import Resources
from guardhouse.foundation.transaction import tenant_transaction
from server.tests.ingest.make import Door

make_id = identifier("tenant", "agent")


def event(index: int, at: datetime, source: str | None = None, **changed: Any) -> NewEvent:
    made = NewEvent(
        index=index,
        event_id=make_id(int(at.timestamp() * 1000), source or f"s:{index}"),
        occurred_at=at,
        claimed_at=None,
        seq=index,
        start=None,
        ret=None,
        pid=1,
        tid=None,
        kind=1,
        flags=0,
        call="read",
        fields=None,
    )
    for name, value in changed.items():
        setattr(made, name, value)
    return made


def owner(door: Door) -> Owner:
    return Owner(door.tenant, 1, 1, door.now)


async def write(door: Door, events: list[NewEvent], first: int = 1, *, careful: bool = False) -> set[int]:
    async with tenant_transaction(door.resources.database, door.tenant) as tx:
        return await write_process.write_events(tx, owner(door), events, first, careful=careful)


async def positions(door: Door) -> list[tuple[int, int]]:
    rows = await door.rows("SELECT pid, position FROM process_events ORDER BY position")
    return [(row[0], row[1]) for row in rows]


async def test_order_given_is_order_kept_over_several_days(door: Door, clock: SetClock) -> None:
    midnight = clock.now().replace(hour=0)
    times = [
        midnight,
        midnight - timedelta(days=2),
        midnight + timedelta(days=1),
        midnight - timedelta(seconds=1),
    ]
    assert await write(door, [event(n, at, pid=n) for n, at in enumerate(times)]) == set()
    assert await positions(door) == [(0, 1), (1, 2), (2, 3), (3, 4)]


async def test_a_copy_loses_the_transaction_and_the_careful_way_leaves_it_out(
    door: Door, clock: SetClock
) -> None:
    first = [event(n, clock.now(), pid=n) for n in range(3)]
    await write(door, first)
    mixed = [event(n, clock.now(), pid=n) for n in (5, 1, 4)]
    with pytest.raises(AlreadyStored):
        await write(door, mixed, 4)
    assert len(await positions(door)) == 3
    assert await write(door, mixed, 4, careful=True) == {1}
    assert await positions(door) == [(0, 1), (1, 2), (2, 3), (5, 4), (4, 5)]


async def test_twice_in_one_batch_the_first_by_index_stays(door: Door, clock: SetClock) -> None:
    twins = [event(7, clock.now(), "same"), event(2, clock.now(), "same"), event(3, clock.now())]
    with pytest.raises(AlreadyStored):
        await write(door, twins)
    assert await write(door, twins, careful=True) == {7}
    assert await write(door, twins, careful=True) == {2, 3, 7}


@pytest.mark.parametrize("careful", [False, True])
async def test_a_missing_day_is_told(door: Door, clock: SetClock, careful: bool) -> None:  # noqa: FBT001
    with pytest.raises(DayMissing):
        await write(
            door, [event(0, clock.now()), event(1, clock.now() + timedelta(days=90))], careful=careful
        )
    assert await positions(door) == []


async def test_nothing_to_write_is_nothing(door: Door) -> None:
    assert await write(door, []) == set()


def test_late_is_what_does_not_pass_the_highest_number_so_far() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    events = [event(n, now, seq=seq) for n, seq in enumerate((4, 5, 6, None))]
    write_process.mark_late(events, 5)
    assert [bool(e.flags & LATE) for e in events] == [True, True, False, False]


async def test_a_source_has_one_number(door: Door) -> None:
    async with tenant_transaction(door.resources.database, door.tenant) as tx:
        one = await write_process.get_source(tx, door.tenant, 1, ("s", "b", "native.v1"))
        other = await write_process.get_source(tx, door.tenant, 1, ("s", "c", "native.v1"))
    async with tenant_transaction(door.resources.database, door.tenant) as tx:
        assert await write_process.get_source(tx, door.tenant, 1, ("s", "b", "native.v1")) == one
    assert one != other


async def test_the_owner_alone_says_whose_rows_these_are(
    door: Door, resources: Resources, clock: SetClock
) -> None:
    """COPY goes past row-level security, so the number in the rows is checked here, where it is written."""
    stranger = Owner(TenantKey(uuid4(), door.tenant.no + 1000), 1, 1, door.now)
    async with tenant_transaction(resources.database, door.tenant) as tx:
        await write_process.write_events(tx, stranger, [event(0, clock.now())], 1, careful=False)
        assert await tx.fetch_value("SELECT count(*) FROM process_events") == 0  # not seen by this tenant
    assert (await door.rows("SELECT tenant_no FROM process_events"))[0][0] == stranger.tenant.no
