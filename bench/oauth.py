"""Tokens a second from one API process, and what a cached ES256 check costs. `python bench/oauth.py`."""

import asyncio
import base64
import json
import statistics
import time
from urllib.parse import urlencode

from _kit import Client, Platform, finish, http_request, platform

from guardhouse.foundation.transaction import system_transaction
from guardhouse.identity import tenants
from guardhouse.identity.bearers import Bearers
from guardhouse.identity.tokens import clients
from guardhouse.identity.tokens.clients import NewClient

ROUNDS = 5
SECONDS = 2.0
CONNECTIONS = 8
MUST_PER_SECOND, GOAL_PER_SECOND = 500, 1000
MUST_P99_MS = 30
MUST_CHECK_MICROS, GOAL_CHECK_MICROS = 10, 5
CHECKS = 20_000


async def make_client(made: Platform) -> tuple[str, str]:
    """Return id and secret of a client."""
    async with made.resources() as resources, system_transaction(resources.database) as tx:
        tenant = await tenants.find_tenant(tx, "bench")
        if tenant is None:
            raise RuntimeError("the platform has no tenant")
        client, secret = await clients.create_client(
            tx,
            resources.clock,
            resources.peppers[0],
            tenant,
            NewClient("bench", "viewer"),
            created_by="bench",
        )
        return str(client.id), secret or ""


async def issue(port: int, request: bytes) -> tuple[float, float, str]:
    """Return tokens per second, the 99th percentile in milliseconds, and one of the tokens."""
    connections = [await Client.open(port) for _ in range(CONNECTIONS)]
    end, took = time.perf_counter() + SECONDS, []
    last = b""

    async def ask(connection: Client) -> None:
        nonlocal last
        while time.perf_counter() < end:
            began = time.perf_counter()
            status, last = await connection.send(request)
            if status != 200:
                raise RuntimeError(f"status {status}: {last!r}")
            took.append((time.perf_counter() - began) * 1000)

    started = time.perf_counter()
    await asyncio.gather(*(ask(connection) for connection in connections))
    seconds = time.perf_counter() - started
    for connection in connections:
        connection.close()
    return len(took) / seconds, statistics.quantiles(took, n=100)[98], json.loads(last)["access_token"]


async def check(made: Platform, token: str) -> list[float]:
    """Return what one check of a remembered token takes, in microseconds, a round each."""
    rounds = []
    async with made.resources() as resources:
        stop = resources.wake.subscribe("identity", lambda _: None)
        while not resources.wake.connected:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        bearers = Bearers(resources)
        for _ in range(ROUNDS):
            await bearers.find(token)
            began = time.perf_counter()
            for _ in range(CHECKS):
                await bearers.find(token)
            rounds.append((time.perf_counter() - began) / CHECKS * 1e6)
        stop()
    return rounds


def main() -> None:
    """Run the rounds and print the figures."""
    with platform("serve") as made:
        name, secret = asyncio.run(make_client(made))
        pair = base64.b64encode(f"{name}:{secret}".encode()).decode()
        headers = {"authorization": f"Basic {pair}", "content-type": "application/x-www-form-urlencoded"}
        body = urlencode({"grant_type": "client_credentials"}).encode()
        request = http_request("POST", "/oauth/token", headers, body)
        asyncio.run(issue(made.port, request))
        rates, p99s, token = [], [], ""
        for number in range(ROUNDS):
            rate, p99, token = asyncio.run(issue(made.port, request))
            rates.append(rate)
            p99s.append(p99)
            print(f"round {number + 1}: {rate:,.0f} tokens/s, p99 {p99:.1f} ms")
        checks = asyncio.run(check(made, token))
    finish("oauth_token_p99", p99s, [], "ms", must=MUST_P99_MS, on="ours", better="lower")
    finish(
        "oauth_cached_check",
        checks,
        [],
        "µs",
        must=MUST_CHECK_MICROS,
        goal=GOAL_CHECK_MICROS,
        on="ours",
        better="lower",
    )
    finish("oauth_tokens", rates, [], "tokens/s", must=MUST_PER_SECOND, goal=GOAL_PER_SECOND, on="ours")


if __name__ == "__main__":
    main()
