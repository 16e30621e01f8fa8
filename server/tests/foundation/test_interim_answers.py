from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from guardhouse.foundation.egress import EgressRules
from guardhouse.foundation.interim_answers import INTERIM_ANSWERS
from guardhouse.foundation.outbound import Outbound, Unreachable
from guardhouse.settings import Settings
from server.tests.components import receiver as hostile
from server.tests.components.names import Names
from server.tests.components.receiver import raw, receiving

LOOPBACK = EgressRules.from_settings(Settings(egress_allow=["127.0.0.1/32:*"]))


@pytest_asyncio.fixture
async def outbound() -> AsyncIterator[Outbound]:
    found = Outbound(LOOPBACK, lookup=Names())
    yield found
    await found.close()


async def test_a_flood_of_interim_answers_ends_long_before_the_time(outbound: Outbound) -> None:
    async with receiving(hostile.early_hints) as receiver:
        with pytest.raises(Unreachable, match="Interim") as failure:
            await outbound.send("POST", receiver.url(), headers={}, timeout_seconds=60)
    assert (failure.value.reason, failure.value.address) == ("protocol", "127.0.0.1")


@pytest.mark.parametrize("count", [1, INTERIM_ANSWERS])
async def test_a_few_interim_answers_are_passed_over_on_each_request(outbound: Outbound, count: int) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\n\r\n" * count
    answered = raw(hints + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", close=False)
    async with receiving(answered) as receiver:
        for _ in range(2):  # the second on the connection of the first
            got = await outbound.send("POST", receiver.url(), headers={})
            assert (got.status, got.body) == (200, b"ok")
