"""Quarantine: bounded per project, oldest out first and counted, forgotten in time."""

from datetime import timedelta

import pytest

from guardhouse.foundation.transaction import system_transaction
from guardhouse.ingest import quarantine, store
from guardhouse.ingest.parse_telemetry import Rejected
from guardhouse.ingest.store import Owner
from server.tests.ingest.make import Door


def rejected(raw: bytes, count: int) -> list[Rejected]:
    return [Rejected(n, "event", None, "not_an_object", "", raw) for n in range(count)]


async def test_the_oldest_goes_first_and_is_counted(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "PROJECT_BYTES", 1000)
    owner, other = Owner(door.tenant.no, 1), Owner(door.tenant.no, 2)
    async with system_transaction(door.resources.database) as tx:
        await quarantine.keep_items(tx, other, "other", rejected(b"x" * 900, 1), door.now)
        await quarantine.keep_items(tx, owner, "a", rejected(b"x" * 100, 5), door.now)
        await quarantine.keep_items(tx, owner, "b", rejected(b"x" * 100, 5), door.now)
        await quarantine.keep_items(tx, owner, "c", rejected(b"x" * 150, 2), door.now)
    rows = await door.rows("SELECT batch_id, count(*) AS n FROM quarantine GROUP BY 1 ORDER BY 1")
    assert [(row["batch_id"], row["n"]) for row in rows] == [("a", 2), ("b", 5), ("c", 2), ("other", 1)]
    totals = await door.rows("SELECT bytes, dropped FROM quarantine_totals ORDER BY project_no")
    assert [tuple(row) for row in totals] == [(1000, 3), (900, 0)]


async def test_only_the_first_mebibyte_is_kept(door: Door) -> None:
    owner = Owner(door.tenant.no, 1)
    async with system_transaction(door.resources.database) as tx:
        await quarantine.keep_body(tx, owner, "malformed_body", "", b"x" * (2 << 20), door.now)
        await quarantine.keep_items(tx, owner, None, [], door.now)
    (row,) = await door.rows("SELECT bytes, length(raw) AS length, kind FROM quarantine")
    assert tuple(row) == (1 << 20, 1 << 20, "body")


async def test_all_is_forgotten_in_time(door: Door) -> None:
    owner = Owner(door.tenant.no, 1)
    old = door.now - timedelta(days=31)
    receipt = store.Receipt("b", b"\0" * 32, None, 1)
    async with system_transaction(door.resources.database) as tx:
        for at in (old, door.now):
            await quarantine.keep_items(tx, owner, "b", rejected(b"xyz", 3), at)
        assert await store.claim_receipt(tx, owner, receipt, old)
        await store.mark_seen(tx, owner.tenant_no, [b"\0" * 16], old)
        before = door.now - timedelta(days=1)
        assert await store.prune_unread(tx, before, 2) == 2
        assert await store.prune_unread(tx, before, 2) == 1
        assert await store.prune_receipts(tx, before, 10) == 1
        assert await store.prune_seen(tx, before, 10) == 1
    assert [tuple(row) for row in await door.rows("SELECT bytes, dropped FROM quarantine_totals")] == [(9, 0)]
    assert await door.count("quarantine") == 3
