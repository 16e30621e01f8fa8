"""One remote engine against a stub that speaks the Go contract, and misbehaves in every way that 3.11 names."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

import pytest
from pydantic import SecretStr

from guardhouse.detections.remotes import remote
from guardhouse.detections.remotes.breaker import IN_A_ROW, Breaker, State
from guardhouse.detections.remotes.remote import NoRemoteVerdictError, Remote
from guardhouse.foundation.egress import EgressRules, Opening
from guardhouse.foundation.outbound import Outbound
from guardhouse.settings import RemoteEngine
from server.tests.components.receiver import (
    Behaviour,
    Receiver,
    Turn,
    answer,
    drip,
    raw,
    receiving,
    reset,
    silence,
)

LOOPBACK = EgressRules(allow=(Opening(ip_network("127.0.0.0/8"), None),))
GOOD = json.dumps({"is_malicious": True, "confidence": 0.91, "threat_types": ["jailbreak"]}).encode()
PATIENT = 30.0


def good(body: bytes = GOOD) -> Behaviour:
    return answer(200, body, Content_Type="application/json")


@dataclass
class Stub:
    receiver: Receiver
    remote: Remote
    changes: list[tuple[State, State, str]] = field(default_factory=list)
    now: float = 0.0

    async def failure(self, seconds: float = PATIENT) -> str:
        with pytest.raises(NoRemoteVerdictError) as found:
            await self.remote.ask("Hello", 500, seconds)
        return found.value.reason


@asynccontextmanager
async def stub(behave: Behaviour, **setting: Any) -> AsyncIterator[Stub]:
    async with receiving(behave) as receiver:
        outbound = Outbound(LOOPBACK)

        def changed(one: Remote, before: State, reason: str) -> None:
            made.changes.append((before, one.breaker.state, reason))

        asked = Remote("go", RemoteEngine(url=receiver.url(""), **setting), outbound, changed)
        made = Stub(receiver, asked)
        asked.breaker = Breaker(lambda: made.now)
        try:
            yield made
        finally:
            await outbound.close()


async def test_a_verdict_comes_back_over_a_kept_connection() -> None:
    secret = SecretStr("Authorization: Bearer of-the-engine")
    async with stub(good(), auth_header=secret) as made:
        for _ in range(3):
            verdict = await made.remote.ask("Hello", 300, PATIENT)
            assert (verdict.score_milli, verdict.threat_types) == (910, ("jailbreak",))
        request = made.receiver.requests[0]
        assert (request.method, request.path) == ("POST", "/v1/detect")
        assert request.headers["authorization"] == "Bearer of-the-engine"
        assert request.headers["content-type"] == "application/json"
        assert json.loads(request.body)["config"] == {"confidence_threshold": 0.3, "detailed_response": True}
        assert made.receiver.connections == 1


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (silence, "remote_timeout"),
        (drip(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", b" "), "remote_timeout"),
        (drip(b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n"), "remote_timeout"),
        (reset, "remote_unreachable"),
        (raw(b""), "remote_unreachable"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{"), "remote_unreachable"),
        (answer(408), "remote_error"),
        (answer(500, b"{}"), "remote_error"),
        (answer(503, b'{"retry_after":5}', Retry_After="5"), "remote_error"),
        (good(b"{"), "remote_bad_answer"),
        (good(b'{"is_malicious":true,"confidence":1.7}'), "remote_bad_answer"),
        (good(b'{"is_malicious":true}'), "remote_bad_answer"),
        (good(b" " * (1 << 20) + GOOD), "remote_bad_answer"),
        (answer(302, Location="/elsewhere"), "remote_bad_answer"),
        (answer(204), "remote_bad_answer"),
    ],
)
async def test_each_failure_has_its_reason_and_three_open_the_breaker(behave: Behaviour, reason: str) -> None:
    async with stub(behave, timeout_ms=200 if reason == "remote_timeout" else 30_000) as made:
        assert [await made.failure() for _ in range(IN_A_ROW)] == [reason] * IN_A_ROW
        asked = len(made.receiver.requests)
        assert await made.failure() == "breaker_open"
        assert len(made.receiver.requests) == asked
        assert made.changes == [("closed", "open", reason)]


async def test_nobody_listening_is_unreachable() -> None:
    async with stub(good()) as made:
        free = made.receiver.port
    async with stub(good()) as other:
        object.__setattr__(other.remote.setting, "url", f"http://127.0.0.1:{free}")
        assert await other.failure() == "remote_unreachable"


async def test_a_request_that_is_not_taken_is_no_failure_of_the_engine() -> None:
    async with stub(answer(400, b"{}")) as made:
        assert [await made.failure() for _ in range(2 * IN_A_ROW)] == ["remote_error"] * 2 * IN_A_ROW
        assert made.changes == []


async def test_the_callers_time_goes_before_the_engines() -> None:
    async with stub(silence, timeout_ms=30_000) as made:
        assert await made.failure(seconds=0.1) == "remote_timeout"


async def test_the_plug_is_pulled_and_put_back() -> None:
    async with stub(good()) as made:
        await made.remote.ask("Hello", 500, PATIENT)
        made.receiver.behave = reset
        for _ in range(IN_A_ROW):
            await made.failure()
        made.receiver.behave = good()
        assert await made.failure() == "breaker_open"
        made.now += 60
        await made.remote.ask("Hello", 500, PATIENT)
        await made.remote.ask("Hello", 500, PATIENT)
        assert [(before, after) for before, after, _ in made.changes] == [
            ("closed", "open"),
            ("open", "half_open"),
            ("half_open", "closed"),
        ]


async def test_a_kept_connection_that_was_closed_meanwhile_is_no_failure() -> None:
    async def once(turn: Turn) -> None:
        await good()(turn)
        turn.writer.close()

    async with stub(once) as made:
        for _ in range(5):
            await made.remote.ask("Hello", 500, PATIENT)
        assert made.changes == []


async def test_no_more_at_once_than_the_engine_takes_and_the_rest_waits_its_turn() -> None:
    under_way = 0
    most = 0
    release = asyncio.Event()

    async def counted(turn: Turn) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await release.wait()
        under_way -= 1
        await good()(turn)

    async with stub(counted, max_in_flight=2) as made:
        asked = [asyncio.create_task(made.remote.ask("Hello", 500, PATIENT)) for _ in range(6)]
        await made.receiver.wait_for(2)
        assert await made.failure(seconds=0.05) == "overloaded"
        release.set()
        assert len(await asyncio.gather(*asked)) == 6
        assert (most, made.changes) == (2, [])


async def test_a_caller_that_hangs_up_leaves_the_breaker_and_its_place_as_they_were() -> None:
    async with stub(silence, max_in_flight=1) as made:
        for _ in range(2 * IN_A_ROW):
            task = asyncio.create_task(made.remote.ask("Hello", 500, PATIENT))
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        made.receiver.behave = good()
        assert (await made.remote.ask("Hello", 500, PATIENT)).score_milli == 910


@pytest.mark.parametrize(
    ("behave", "health"),
    [
        (answer(200), "healthy"),
        (answer(206), "degraded"),
        (answer(503), "unhealthy"),
        (answer(404), "unhealthy"),
        (reset, "unreachable"),
    ],
)
async def test_health_is_asked_for_and_kept_for_ten_seconds(
    behave: Behaviour, health: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "HEALTH_SECONDS", PATIENT)
    monkeypatch.setattr(remote, "HEALTH_EVERY_SECONDS", PATIENT)
    async with stub(behave) as made:
        assert [await made.remote.health(), await made.remote.health()] == [health, health]
        assert {request.path for request in made.receiver.requests} == {"/health"}
