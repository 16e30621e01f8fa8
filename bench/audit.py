"""What the audit log costs: a write over HTTP beside the same write unrecorded, and verifying a million entries.

The unrecorded write is the same server with the one statement that appends taken out. One writer at a time: many
writers of one tenant follow each other by design, for they make one chain. `python bench/audit.py`.
"""

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any, Self

import uvicorn
from _kit import Client, Platform, finish, free_port, http_request, platform, wait_for_port

from guardhouse.audit import signing_key, store, verify
from guardhouse.foundation import logs
from guardhouse.foundation.resources import open_resources
from guardhouse.foundation.transaction import system_transaction
from guardhouse.http.app import create_app
from guardhouse.settings import Settings

ROUNDS = 9
WRITES = 300  # on each server in a round
SHARE_MUST, SHARE_GOAL = 0.95, 0.98
ENTRIES = 1_000_000
VERIFY_MUST, VERIFY_GOAL = 60.0, 20.0
MUST_KB = 20_000  # what verifying may add to the memory of the process
# A chain like the trigger's, in one go: head and trigger rest meanwhile.
FILL = """
ALTER TABLE audit_log DISABLE TRIGGER audit_chain;
DO $$
DECLARE entry audit_log; before bytea := '';
BEGIN
  SELECT tenant_id INTO entry.tenant_id FROM tenants WHERE slug = 'large';
  entry.actor := 'key:0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b11';
  entry.credential := '0199a3c2-5b1e-7c44-9d2f-4f6f1f2a9b11';
  entry.action := 'agent.update'; entry.ip := '203.0.113.7';
  entry.user_agent := 'Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101'; entry.correlation_id := 'req-0123456789abcdef';
  FOR n IN 1..%d LOOP
    entry.seq := n; entry.at := clock_timestamp(); entry.target := 'agent:web-' || n %% 1000;
    entry.before := jsonb_build_object('name', 'web-' || n, 'signature_modes', '["rfc9421"]'::jsonb);
    entry.after := jsonb_build_object('name', 'web-' || n + 1, 'signature_modes', '["rfc9421", "legacy"]'::jsonb);
    entry.prev_hash := before; entry.hash := guardhouse_audit_hash(before, entry); before := entry.hash;
    INSERT INTO audit_log SELECT entry.*;
  END LOOP;
  INSERT INTO audit_heads VALUES (entry.tenant_id, %d, before);
END $$;
ALTER TABLE audit_log ENABLE TRIGGER audit_chain;
ANALYZE audit_log;
"""


async def serve(port: int, *, silent: bool) -> None:
    """Serve the real application, recording or not."""
    settings = Settings()
    logs.configure(settings)
    if silent:

        def record_nothing(_tx: Any, _line: Any) -> None:
            pass

        setattr(store, "append", record_nothing)  # noqa: B010 - what the bench is about
    async with open_resources(settings) as resources:
        config = uvicorn.Config(
            create_app(resources),
            port=port,
            log_level="warning",
            access_log=False,
            loop="uvloop",
            http="httptools",
        )
        await uvicorn.Server(config).serve()


async def write(made: Platform, ports: Sequence[int]) -> list[float]:
    """Return how many changes of an agent one writer makes per second on each server, one write after the other.

    The servers take turns write by write, so that whatever else the machine does is theirs alike.
    """
    clients = [await Client.open(port) for port in ports]
    headers = {"x-api-key": made.key, "content-type": "application/json"}
    took: list[list[float]] = [[] for _ in clients]
    for count in range(WRITES):
        body = json.dumps({"name": f"called {count}"}).encode()
        for client, times in zip(clients, took, strict=True):
            started = time.perf_counter()
            status, answer = await client.send(http_request("PATCH", "/api/v1/agents/web-1", headers, body))
            times.append(time.perf_counter() - started)
            if status != 200:
                raise RuntimeError(f"status {status}: {answer!r}")
    for client in clients:
        client.close()
    return [1 / median(times) for times in took]


async def enroll(made: Platform, port: int) -> None:
    """Make the agent that is changed."""
    client = await Client.open(port)
    headers = {"x-api-key": made.key, "content-type": "application/json"}
    await client.send(http_request("POST", "/api/v1/agents", headers, b'{"id": "web-1"}'))
    client.close()


def compare_writes(made: Platform) -> None:
    """Measure both servers in turns."""
    with ExitStack() as stack:
        recording, silent = (stack.enter_context(_Server(made, mode)) for mode in ("recording", "silent"))
        asyncio.run(enroll(made, recording.port))
        ports = (recording.port, silent.port)
        asyncio.run(write(made, ports))
        ours, anchor = [], []
        for number in range(ROUNDS):
            recorded, unrecorded = asyncio.run(write(made, ports))
            ours.append(recorded)
            anchor.append(unrecorded)
            print(f"round {number + 1}: recorded {recorded:,.0f}/s, unrecorded {unrecorded:,.0f}/s")
    finish("audit_append", ours, anchor, "writes/s", must=SHARE_MUST, goal=SHARE_GOAL)


class _Server:
    """One of the two servers, as a process."""

    def __init__(self, made: Platform, mode: str) -> None:
        self.port = free_port()
        command = [sys.executable, __file__, "serve", str(self.port), mode]
        self._process = subprocess.Popen(command, env={**os.environ, **made.environment})

    def __enter__(self) -> Self:
        wait_for_port(self.port)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)


async def verify_large(made: Platform) -> list[float]:
    """Verify the large log three times; return seconds each took."""
    async with made.resources() as resources, system_transaction(resources.database) as tx:
        tenant_id = await tx.fetch_value("SELECT tenant_id FROM tenants WHERE slug = 'large'")
        keys = await signing_key.trusted_keys(tx, resources.master_key)
        seconds = []
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(3):
            started = time.perf_counter()
            walk = await verify.verify(tx, tenant_id, keys)
            seconds.append(time.perf_counter() - started)
            if walk.broken is not None or walk.entries != ENTRIES:
                raise RuntimeError(f"broken at {walk.broken} after {walk.entries}")
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{ENTRIES:,} entries in {median(seconds):.1f} s, {grown:,} KB more memory at the peak")
    if grown > MUST_KB:
        raise RuntimeError("verifying takes memory")
    return seconds


def main() -> None:
    """Measure both figures."""
    with platform() as made:
        compare_writes(made)
        made.psql(
            "INSERT INTO tenants (tenant_id, slug, name, state, env, settings, created_at)"
            " VALUES (gen_random_uuid(), 'large', 'Large', 'active', 'live', '{}', now())"
        )
        made.psql(FILL % (ENTRIES, ENTRIES))
        seconds = asyncio.run(verify_large(made))
    finish(
        "audit_verify_million",
        seconds,
        [],
        "s",
        must=VERIFY_MUST,
        goal=VERIFY_GOAL,
        better="lower",
        on="ours",
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(int(sys.argv[2]), silent=sys.argv[3] == "silent"))
    else:
        main()
