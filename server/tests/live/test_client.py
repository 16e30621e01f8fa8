import asyncio
from uuid import uuid4

from guardhouse.live.client import QUEUE_LENGTH, Client, Interest
from guardhouse.live.store import Visitor
from guardhouse.notices.read import Position
from server.tests.notices.make import ACME


def client() -> Client:
    return Client(0, str(uuid4()), Visitor(ACME, frozenset(), None, "x"), Interest(frozenset()))


def at(number: int) -> Position:
    return Position(1, number, 1)


async def test_what_is_queued_goes_out_together() -> None:
    listener = client()
    assert all(listener.offer(b"%d;" % n, at(n)) for n in range(1, 4))
    assert await listener.next() == b"1;2;3;"
    assert listener.sent == at(3)


async def test_a_waiting_client_is_woken() -> None:
    listener = client()
    waiting = asyncio.create_task(listener.next())
    await asyncio.sleep(0)
    listener.offer(b"a", at(1))
    assert await asyncio.wait_for(waiting, 10) == b"a"


async def test_what_was_sent_before_is_not_sent_again() -> None:
    listener = client()
    listener.start_at(at(5))
    assert listener.offer(b"old", at(5))
    assert not listener.has_more()


async def test_a_full_queue_ends_with_the_gap_alone() -> None:
    listener = client()
    listener.offer(b"first", at(1))
    await listener.next()
    assert all(listener.offer(b"x", at(n)) for n in range(2, 2 + QUEUE_LENGTH))
    assert not listener.offer(b"x", at(1000))
    assert listener.ended
    assert await listener.next() == b'event: gap\ndata: {"from":"1.1.1","to":"1.1000.1"}\n\n'
    listener.offer(b"x", at(1001))
    listener.dismiss("draining")
    assert not listener.has_more()


async def test_goodbye_comes_after_what_is_queued_and_names_a_moment_of_its_own() -> None:
    farewells = set()
    for _ in range(20):
        listener = client()
        listener.offer(b"last\n\n", at(1))
        listener.dismiss("draining")
        last, said = (await listener.next()).split(b"\n\n", 1)
        assert (last, said.splitlines()[1]) == (b"last", b"event: goodbye")
        farewells.add(said.splitlines()[0])
    assert len(farewells) > 10


async def test_a_busy_client_needs_no_heartbeat() -> None:
    listener = client()
    listener.offer(b"a", at(1))
    listener.beat(b"beat")
    assert await listener.next() == b"a"
    listener.beat(b"beat")
    assert await listener.next() == b"beat"
