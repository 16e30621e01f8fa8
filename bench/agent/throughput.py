"""Events a second that one process delivers for good, offered 15,000 a second with settings as they come.

`python bench/agent/throughput.py [--full]`: 20 or 60 s a run, one or three runs a side, in turns. What the collector
took in the second half counts, the first is for finding the pace; of the released agent, which allows itself 100
requests a minute and sends them early, the whole run counts.
"""

import asyncio
import sys
import tempfile
import time

SECONDS = {False: 20.0, True: 60.0}
RUNS = {False: 1, True: 3}
OFFERED = 15_000


def main() -> None:
    """Measure both sides."""
    from _collector import collector  # noqa: PLC0415 -- not for probes
    from _sides import KEY, OURS, finish, full, sides, start  # noqa: PLC0415

    long, places = full(), sides()
    rate: dict[str, list[float]] = {side: [] for side in places}
    for _ in range(RUNS[long]):
        for side, python in places.items():
            with (
                collector(remember=False) as found,
                tempfile.TemporaryDirectory(prefix="agent-bench-") as home,
            ):
                asked = {"url": found.url, "key": KEY, "seconds": SECONDS[long]}
                process = start(python, __file__, asked, home)
                assert process.stdout is not None
                process.stdout.readline()
                skipped = SECONDS[long] / 2 if side == OURS else 0.0
                time.sleep(skipped)
                before, begun = found.counted, time.monotonic()
                time.sleep(SECONDS[long] - skipped - 0.5)
                rate[side].append((found.counted - before) / (time.monotonic() - begun))
                process.kill()
                process.communicate()
            print(f"{side}: {rate[side][-1]:,.0f} events/s")
    finish("agent_throughput", rate, "events/s", must=10_000)


async def probe() -> None:
    """Offer events steadily."""
    from _probe import agent, event, given, tell  # noqa: PLC0415 -- in the side's environment

    asked = given()
    made = agent()
    await made.start()
    tell("begun")
    ready = [event(number) for number in range(2000)]
    sent, begun = 0, time.monotonic()
    while time.monotonic() - begun < asked["seconds"]:
        for number in range(sent, sent + 150):
            await made.send_event(ready[number % len(ready)])
        sent += 150
        await asyncio.sleep(max(0.0, begun + sent / OFFERED - time.monotonic()))
    tell(sent)
    await made.stop()


if __name__ == "__main__":
    if sys.argv[1:2] == ["probe"]:
        asyncio.run(probe())
    else:
        main()
