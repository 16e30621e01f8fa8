"""How much the process grows while the collector is dead and nothing may go to disk.

`python bench/agent/memory.py [--full]`: 40,000 events at 4,000 a second, or ten minutes at 2,000. Buffers are wide
open, so that the bound is the agent's own.
"""

import asyncio
import sys
import time
from pathlib import Path

EVENTS = {False: 40_000, True: 1_200_000}
RATE = {False: 4_000, True: 2_000}
MUST_MIB = 24 + 8  # max_memory_bytes and a margin


def main() -> None:
    """Measure both sides, one after the other."""
    from _sides import KEY, finish, full, run, sides  # noqa: PLC0415 -- not for probes

    long, places = full(), sides()
    grown: dict[str, list[float]] = {side: [] for side in places}
    for _ in range(1 if long else 3):
        for side, python in places.items():
            asked = {"url": "http://127.0.0.1:9", "key": KEY, "events": EVENTS[long], "rate": RATE[long]}
            grown[side].append(run(python, __file__, asked, 900))
            print(f"{side}: {grown[side][-1]:.1f} MiB for {EVENTS[long]:,} events")
    finish("agent_memory", grown, "MiB", must=MUST_MIB, better="lower")


async def probe() -> None:
    """Note the growth of the resident set at its highest."""
    from _probe import agent, event, given, tell  # noqa: PLC0415 -- in the side's environment

    asked = given()
    made = agent(buffer_size=2 * asked["events"], flush_interval=5, durability="memory")
    await made.start()
    await made.send_event(event(0))
    await made.flush_buffer()
    before, highest, begun = resident(), 0.0, time.monotonic()
    for number in range(asked["events"]):
        await made.send_event(event(number))
        if number % 200 == 199:
            highest = max(highest, resident())
            await asyncio.sleep(max(0.0, begun + number / asked["rate"] - time.monotonic()))
    await asyncio.sleep(2)
    tell((max(highest, resident()) - before) / 2**20)
    await made.stop()


def resident() -> float:
    """Return the bytes of memory this process holds."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096.0


if __name__ == "__main__":
    if sys.argv[1:2] == ["probe"]:
        asyncio.run(probe())
    else:
        main()
