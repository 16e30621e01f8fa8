"""How long the app's event loop stands still while 10,000 events go out, above the floor of an idle loop.

`python bench/agent/loop_stall.py [--full]`: 3 or 9 runs a side, in turns. A ticker of 1 ms notes its worst lateness,
first idle, then while the events are handed over (20 a tick) and sent.
"""

import asyncio
import sys
import time

RUNS = {False: 3, True: 9}
EVENTS = 10_000


def main() -> None:
    """Measure both sides."""
    from _collector import collector  # noqa: PLC0415 -- not for probes
    from _sides import KEY, finish, full, run, sides  # noqa: PLC0415

    long, places = full(), sides()
    stall: dict[str, list[float]] = {side: [] for side in places}
    for number in range(RUNS[long]):
        for side, python in places.items():
            with collector(remember=False) as found:
                idle, busy = run(python, __file__, {"url": found.url, "key": KEY})
            stall[side].append(busy - idle)
            print(
                f"run {number + 1}, {side}: idle {idle:.2f} ms, sending {busy:.2f} ms, {found.counted} went out"
            )
    finish("agent_loop_stall", stall, "ms above idle", must=2, better="lower")


async def probe() -> None:
    """Watch the loop idle, then at work."""
    from _probe import agent, event, tell  # noqa: PLC0415 -- in the side's environment

    made = agent(buffer_size=EVENTS, flush_interval=2)
    await made.start()
    await made.send_event(event(0))
    await made.flush_buffer()  # what is loaded at the first send is loaded
    events = [event(number) for number in range(EVENTS)]
    idle = await worst_lateness(4.0)
    handing = asyncio.create_task(hand_over(made, events))
    busy = await worst_lateness(8.0)
    await handing
    tell([idle, busy])
    await made.stop()


async def hand_over(made: object, events: list[object]) -> None:
    """Give the events to the agent, a few at a time."""
    for first in range(0, len(events), 20):
        for ready in events[first : first + 20]:
            await made.send_event(ready)  # type: ignore[attr-defined] # the agent of either side
        await asyncio.sleep(0.002)


async def worst_lateness(seconds: float) -> float:
    """Return the worst lateness of a 1 ms ticker over a time, in ms."""
    worst, end = 0.0, time.perf_counter() + seconds
    while (before := time.perf_counter()) < end:
        await asyncio.sleep(0.001)
        worst = max(worst, time.perf_counter() - before - 0.001)
    return worst * 1000


if __name__ == "__main__":
    if sys.argv[1:2] == ["probe"]:
        asyncio.run(probe())
    else:
        main()
