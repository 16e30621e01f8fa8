"""What `send_event` costs its caller: awaited calls with a ready object, a healthy collector behind.

`python bench/agent/enqueue.py [--full]`: 20,000 or 100,000 calls a run, 5 or 9 runs a side, in turns; also `emit` and
`durability="strict"` of ours.
"""

import asyncio
import sys
import time
from statistics import quantiles

RUNS = {False: 5, True: 9}
CALLS = {False: 20_000, True: 100_000}


def main() -> None:
    """Measure both sides."""
    from _collector import collector  # noqa: PLC0415 -- not for probes
    from _sides import KEY, OURS, finish, full, run, sides  # noqa: PLC0415

    long, places = full(), sides()
    p50: dict[str, list[float]] = {side: [] for side in places}
    p99: dict[str, list[float]] = {side: [] for side in places}
    emit, strict = [], []
    for number in range(RUNS[long]):
        for side, python in places.items():
            with collector(remember=False) as found:
                asked = {"url": found.url, "key": KEY, "calls": CALLS[long]}
                middle, late = run(python, __file__, asked)
                if side == OURS:
                    emit.append(run(python, __file__, asked | {"emit": True})[0])
                    strict.append(run(python, __file__, asked | {"durability": "strict"})[0])
            p50[side].append(middle)
            p99[side].append(late)
            print(f"run {number + 1}, {side}: p50 {middle:.2f} µs, p99 {late:.2f} µs")
    lower = {"better": "lower"}
    finish("agent_enqueue_emit", {OURS: emit}, "µs p50", must=3, alone=True, **lower)
    finish("agent_enqueue_strict", {OURS: strict}, "µs p50", must=25, alone=True, **lower)
    finish("agent_enqueue_p99", p99, "µs p99", must=20, **lower)
    finish("agent_enqueue", p50, "µs p50", must=2, goal=1.5, **lower)


async def probe() -> None:
    """Time each call; the loop gets its turn every 500, as it does between requests."""
    from _probe import agent, event, given, tell  # noqa: PLC0415 -- in the side's environment

    asked = given()
    calls = asked["calls"]
    made = agent(buffer_size=2 * calls, flush_interval=60, durability=asked.get("durability", "auto"))
    await made.start()
    events = [event(number) for number in range(calls)]
    await asyncio.sleep(0.5)
    took = []
    for number, ready in enumerate(events):
        if asked.get("emit"):
            begun = time.perf_counter_ns()
            await made.emit("rate_limited", ip="192.0.2.1", reason="bench", n=number)
        else:
            begun = time.perf_counter_ns()
            await made.send_event(ready)
        took.append((time.perf_counter_ns() - begun) / 1000)
        if number % 500 == 499:
            await asyncio.sleep(0.002)
    cuts = quantiles(took, n=100)
    tell([cuts[49], cuts[98]])
    await made.stop()


if __name__ == "__main__":
    if sys.argv[1:2] == ["probe"]:
        asyncio.run(probe())
    else:
        main()
