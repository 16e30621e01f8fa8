"""From the publication of a rule to the answer that agents wait for, with a hundred of them waiting at another process.

This is the server's half of "publish until enforced"; applying a document is the agent's. The anchor is the poll of
released agents, which ask each 60 seconds at best: 30 s on average. Usage: `python bench/agent/rules_latency.py`.
"""

import asyncio
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import httpx

BENCH = Path(__file__).parents[1]
sys.path.insert(0, str(BENCH))

from _kit import Platform, finish, platform  # noqa: E402

ROUNDS = 9
AGENTS = 100
SETTLED_SECONDS = 1.0  # until all of them wait
POLL_SECONDS = 30.0
MUST_SECONDS = 1.0


def main() -> None:
    """Run the rounds and print the figures."""
    with platform("serve", "serve") as made:
        first, last = asyncio.run(measure(made))
    print(f"{AGENTS} agents: first answered after {median(first):.3f} s, last after {median(last):.3f} s")
    finish(
        "agent_rules_latency",
        last,
        [POLL_SECONDS] * ROUNDS,
        "s",
        must=MUST_SECONDS,
        on="ours",
        better="lower",
    )


async def measure(made: Platform) -> tuple[list[float], list[float]]:
    """Return the seconds from the call that publishes to the first and to the last answer, by round."""
    headers = {"X-API-Key": made.key}
    limits = httpx.Limits(max_connections=AGENTS)
    here, there = (f"http://127.0.0.1:{port}/api/v1" for port in made.ports)
    first, last = [], []
    async with httpx.AsyncClient(headers=headers, limits=limits, timeout=60) as client:
        tag = (await client.get(f"{there}/rules", headers={"X-Project-ID": "bench"})).headers["etag"]
        projects = (await client.get(f"{here}/projects")).json()["data"]
        project = next(found["id"] for found in projects if found["slug"] == "bench")
        for number in range(ROUNDS):
            waiting = [asyncio.create_task(wait(client, there, tag, n)) for n in range(AGENTS)]
            await asyncio.sleep(SETTLED_SECONDS)
            rule = {"kind": "ban_net", "value": {"net": f"203.0.113.{number + 1}"}}
            async with httpx.AsyncClient(headers=headers) as operator:
                started = time.perf_counter()
                answer = await operator.post(f"{here}/projects/{project}/rules", json=rule)
                answer.raise_for_status()
            answered = await asyncio.gather(*waiting)
            if any(document["version"] != number + 1 for _, document, _ in answered):
                raise SystemExit("an agent was answered with another revision")
            times = sorted(at - started for at, _, _ in answered)
            first.append(times[0])
            last.append(times[-1])
            tag = answered[0][2]
            print(f"round {number + 1}: {times[0]:.3f} s to {times[-1]:.3f} s")
    return first, last


async def wait(
    client: httpx.AsyncClient, url: str, tag: str, number: int
) -> tuple[float, dict[str, Any], str]:
    """Wait as one agent; return when it was answered, with what."""
    headers = {"X-Project-ID": "bench", "If-None-Match": tag, "X-Agent-Install-Id": f"bench-{number}"}
    answer = await client.get(f"{url}/rules?wait=25", headers=headers)
    return time.perf_counter(), answer.json(), answer.headers["etag"]


if __name__ == "__main__":
    main()
