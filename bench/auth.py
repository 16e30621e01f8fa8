"""A request with an API key against the same route without: what authentication, limits and usage cost.

`python bench/auth.py`. The key's tenant has a plan, so every request with the key is decided on by two windows, tells
what is left, and is logged.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import Annotated

import uvicorn
from _kit import Client, Platform, finish, free_port, http_request, platform, wait_for_port
from fastapi import Depends

from guardhouse.foundation import logs
from guardhouse.foundation.resources import open_resources
from guardhouse.http.app import create_app
from guardhouse.identity.caller import Caller, Require
from guardhouse.settings import Settings

ROUNDS = 5
SECONDS = 2.0
CONNECTIONS = 8
MUST, GOAL = 0.75, 0.9


async def serve(port: int) -> None:
    """Serve the real application with two routes that do nothing, one of them behind a key."""
    settings = Settings()
    logs.configure(settings)
    async with open_resources(settings) as resources:
        app = create_app(resources)

        @app.get("/bare")
        async def bare() -> dict[str, bool]:
            return {"ok": True}

        @app.get("/keyed")
        async def keyed(caller: Annotated[Caller, Depends(Require("events:read"))]) -> dict[str, bool]:
            return {"ok": bool(caller)}

        config = uvicorn.Config(
            app, port=port, log_level="warning", access_log=False, loop="uvloop", http="httptools"
        )
        await uvicorn.Server(config).serve()


async def measure(port: int, request: bytes) -> float:
    """Return answered requests per second over several connections."""
    clients = [await Client.open(port) for _ in range(CONNECTIONS)]
    end = time.perf_counter() + SECONDS

    async def ask(client: Client) -> int:
        count = 0
        while time.perf_counter() < end:
            status, _ = await client.send(request)
            if status != 200:
                raise RuntimeError(f"status {status}")
            count += 1
        return count

    started = time.perf_counter()
    total = sum(await asyncio.gather(*(ask(client) for client in clients)))
    seconds = time.perf_counter() - started
    for client in clients:
        client.close()
    return total / seconds


def compare(made: Platform) -> None:
    """Run the rounds in turns and print the table."""
    made.psql(
        "INSERT INTO plans VALUES ('bench', 1000000000, 1000000000, 1);"
        " INSERT INTO tenant_plans SELECT tenant_id, 'bench', now() FROM tenants WHERE slug = 'bench'"
    )
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, __file__, "serve", str(port)], env={**os.environ, **made.environment}
    )
    try:
        wait_for_port(port)
        bare = http_request("GET", "/bare", {})
        keyed = http_request("GET", "/keyed", {"x-api-key": made.key})
        asyncio.run(measure(port, keyed))
        ours, anchor = [], []
        for number in range(ROUNDS):
            ours.append(asyncio.run(measure(port, keyed)))
            anchor.append(asyncio.run(measure(port, bare)))
            print(f"round {number + 1}: with a key {ours[-1]:,.0f}/s, without {anchor[-1]:,.0f}/s")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(10)
    logged = int(made.psql("SELECT count(*) FROM usage_log"))
    print(f"{logged:,} requests in the usage log")
    finish("authenticated_request", ours, anchor, "requests/s", must=MUST, goal=GOAL)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(int(sys.argv[2])))
    else:
        with platform() as prepared:
            compare(prepared)
