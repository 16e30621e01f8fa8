"""How long `stop()` takes before a collector that takes the request and says nothing, and what is lost by it.

`python bench/agent/stop_deadline.py [--full]`: 2 or 9 runs a side, timeout 2 s. After each, the app starts again with a
collector that answers; what does not arrive then is lost.
"""

import asyncio
import sys
import tempfile
import time

RUNS = {False: 2, True: 9}
EVENTS = 50


def main() -> None:
    """Measure both sides."""
    from _collector import GOOD, collector  # noqa: PLC0415 -- not for probes
    from _sides import KEY, finish, full, result, sides, start  # noqa: PLC0415

    long, places = full(), sides()
    took: dict[str, list[float]] = {side: [] for side in places}
    lost: dict[str, list[float]] = {side: [] for side in places}
    for _ in range(RUNS[long]):
        for side, python in places.items():
            with collector() as found, tempfile.TemporaryDirectory(prefix="agent-bench-") as home:
                asked = {"url": found.url, "key": KEY, "events": EVENTS}
                found.decide = lambda _request: None
                took[side].append(result(start(python, __file__, asked, home)))
                found.decide = lambda _request: GOOD
                result(start(python, __file__, asked | {"events": 0}, home))
                arrived = {item["metadata"]["n"] for item in found.taken_items()}
                lost[side].append(EVENTS - len(arrived))
            print(f"{side}: stop() took {took[side][-1]:.2f} s, {lost[side][-1]} of {EVENTS} lost")
    finish("agent_stop_lost", lost, "events lost", must=0, better="lower")
    finish("agent_stop_deadline", took, "s", must=2.2, better="lower")


async def probe() -> None:
    """Send, begin to deliver, stop; without events: start, and give what was left time to go out."""
    from _probe import agent, event, given, tell  # noqa: PLC0415 -- in the side's environment

    asked = given()
    made = agent(timeout=2, flush_interval=60)
    await made.start()
    for number in range(asked["events"]):
        await made.send_event(event(number))
    await asyncio.sleep(0.2 if asked["events"] else 4.0)
    begun = time.perf_counter()
    await made.stop()
    tell(time.perf_counter() - begun)


if __name__ == "__main__":
    if sys.argv[1:2] == ["probe"]:
        asyncio.run(probe())
    else:
        main()
